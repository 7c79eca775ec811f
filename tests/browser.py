"""A browser for tests of what opens in one: headless Chromium.

Interface: the fixture `browser` (imported by those who need it); `open_page` opens a file and waits
until its program says that it is ready; `severe` are the errors on its console.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

READY_S = 60  # a page has this long on a machine with much to do
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--disable-dev-shm-usage",
    "--window-size=1280,1000",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no network
)


@pytest.fixture
def browser(require_tool: Any) -> Iterator[Chrome]:
    """Give a browser; where there is none the test is skipped, in CI it fails."""
    options = ChromeOptions()
    options.binary_location = require_tool("chromium", "chromium")
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = ChromeService(require_tool("chromedriver", "chromium-driver"))
    driver = Chrome(options=options, service=service)
    yield driver
    driver.quit()


def open_page(browser: Chrome, path: Path, *, dark: bool = False) -> None:
    """Open a report, in light or dark, and wait until its pictures are drawn."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(path.resolve().as_uri())
    WebDriverWait(browser, READY_S).until(
        lambda driver: driver.execute_script(
            "return document.documentElement.dataset.ready === 'yes' && Bokeh.documents[0].is_idle"
        )
    )


def severe(browser: Chrome) -> list[str]:
    """Return what the console has of warnings and errors since the last look."""
    log = browser.get_log("browser")
    return [each["message"] for each in log if each["level"] in {"WARNING", "SEVERE"}]
