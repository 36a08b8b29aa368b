"""The report in a real browser without network: no error, no request, every figure shown."""

import json
import shutil
import subprocess

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PROBE = """
<script>
addEventListener("load", () => {
  const pictures = [...document.images];
  const boxes = [...document.querySelectorAll("#workflow svg g g")];
  const fits = box => {
    const [edge, ...words] = [...box.children].map(child => child.getBoundingClientRect());
    return words.every(w => w.width > 10 && w.left > edge.left && w.right < edge.right);
  };
  document.title = JSON.stringify({
    pictures: pictures.length,
    shown: pictures.filter(p => p.complete && p.naturalWidth > 100 && p.clientWidth > 100).length,
    boxes: boxes.length,
    overfull: boxes.filter(b => !fits(b)).map(b => b.textContent),
    requests: performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:")),
    wide: document.documentElement.scrollWidth > innerWidth + 1,
    headings: document.querySelectorAll("h2").length,
  });
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_report_opens_offline_without_error_or_request(finished, tmp_path):
    page = tmp_path / "report.html"
    html = (finished.root / "results/report.html").read_text()
    drawn = list((finished.root / "results/figures").rglob("*.png"))
    page.write_text(html.replace("</body>", PROBE + "</body>"))
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr",
            "--window-size=1280,900",
            "--virtual-time-budget=5000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    title = done.stdout.split("<title>")[1].split("</title>")[0]
    found = json.loads(title.replace("&quot;", '"'))
    assert found["shown"] == found["pictures"] == len(drawn) > 0
    assert found["boxes"] > 10
    assert found["overfull"] == [], "words of the workflow leave their boxes"
    assert found["requests"] == []
    assert not found["wide"], "the page scrolls sideways"
    assert found["headings"] >= 12
