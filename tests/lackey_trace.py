"""Text of traces as valgrind's lackey writes it."""

HEADER = "==7== Lackey, an example Valgrind tool\n==7== Command: /bin/true\n==7== \n"


def write_trace(tmp_path, text, name="t.lackey"):
    """Write a trace file."""
    path = tmp_path / name
    path.write_bytes(text.encode("latin-1"))
    return path


def line_of(kind, address, size):
    """Return a trace line as lackey prints it."""
    column = "I " if kind == "I" else f" {kind}"
    return f"{column} {address:08x},{size}\n"
