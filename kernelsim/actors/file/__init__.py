"""Files: reading them through the page cache, reading ahead, dropping what is cached."""
