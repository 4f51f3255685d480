"""The live view in a browser: everything an operator looks at, with real traffic."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from browser_stand import BOT_KEY, ControlPort, Visit, ask, control_pid, start

pytestmark = [pytest.mark.process, pytest.mark.external]

PAGES = {
    "overview": "Overview",
    "providers": "Providers",
    "keys": "Keys & limits",
    "requests": "Requests",
    "runtime": "Runtime",
    "alerts": "Alerts",
}
Open = Callable[..., Visit]

#: Texts whose contrast with their ground is too low: 4.5, or 3 for large ones.
LOW_CONTRAST = """
() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const light = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.closest(".sr, .skip, svg")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(style.color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) found.push(`${element.textContent.trim()}: ${ratio}`);
  }
  return found;
}
"""


def test_only_the_admin_token_opens_the_pages(busy: ControlPort, open_tab: Open) -> None:
    """A wrong token is refused in words; the right one is kept nowhere that scripts can read."""
    visit = open_tab(busy)
    page = visit.page
    answer = page.goto(busy.url)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    page.get_by_label("Admin token").fill("tga_this-is-a-guess")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").filter(has_text="not valid").wait_for()
    page.get_by_label("Admin token").fill(busy.token)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview", level=1).wait_for()
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    assert busy.token not in kept
    assert "tidegate_session" not in kept
    page.reload()
    page.get_by_role("heading", name="Overview", level=1).wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Admin token").wait_for()
    page.reload()
    page.get_by_label("Admin token").wait_for()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"color_scheme": "light"}, id="light"),
        pytest.param({"color_scheme": "dark"}, id="dark"),
        pytest.param({"viewport": {"width": 375, "height": 720}}, id="phone"),
    ],
)
def test_every_page_is_legible(
    options: dict[str, object], busy: ControlPort, open_tab: Open
) -> None:
    """Each page fits its window, has contrast, and says its name; nothing goes wrong on the way."""
    visit = open_tab(busy, **options)
    visit.sign_in()
    for fragment, title in PAGES.items():
        visit.go(f"#/{fragment}")
        visit.page.get_by_role("heading", name=title, level=1).wait_for()
        width = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, fragment
        assert visit.page.evaluate(LOW_CONTRAST) == [], fragment
        visit.page.wait_for_function(f"() => document.title.includes({title!r})")


def test_all_pages_are_reached_by_keyboard(busy: ControlPort, open_tab: Open) -> None:
    """Tab and Enter lead to each page, a link jumps over the navigation, focus can be seen."""
    visit = open_tab(busy)
    visit.sign_in()
    page = visit.page
    focused = "document.activeElement.textContent.trim()"
    for title in list(PAGES.values())[1:]:
        for _ in range(40):
            page.keyboard.press("Shift+Tab")
            inside = page.evaluate("!!document.activeElement.closest('nav')")
            if inside and page.evaluate(focused).startswith(title):
                break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=title, level=1).wait_for()
        page.wait_for_function(f"() => document.activeElement.textContent === {title!r}")
    page.reload()
    page.locator(".link.live").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Skip to content"
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.tagName === 'H1'")


def test_every_control_has_a_name(busy: ControlPort, open_tab: Open) -> None:
    """A screen reader can say what each button, link, field, meter and chart is."""
    visit = open_tab(busy)
    visit.sign_in()
    named = {"button", "link", "textbox", "combobox", "radio", "meter", "figure", "table", "form"}
    seen = set()
    tools = visit.page.context.new_cdp_session(visit.page)
    for fragment in PAGES:
        visit.go(f"#/{fragment}")
        if fragment == "requests":
            visit.page.locator("tr.row button").first.click()
        for node in tools.send("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value", "")
            if role in named and not node.get("ignored"):
                seen.add(role)
                assert node["name"]["value"].strip(), (fragment, node)
    assert seen >= {"button", "link", "combobox", "radio", "meter", "figure", "table"}


def test_figures_move_while_requests_flow(busy: ControlPort, open_tab: Open) -> None:
    """The rate changes on the page without a reload, and is near what the clients send."""
    visit = open_tab(busy)
    visit.sign_in()
    tile = visit.page.locator(".tile", has_text="Requests").locator(".figure")
    seen: list[str] = []
    for _ in range(3):
        visit.page.wait_for_function(
            "known => { const t = document.querySelector('.tile .figure').textContent;"
            " return t !== '–' && t !== '0/s' && !known.includes(t); }",
            arg=seen,
        )
        seen.append(tile.inner_text())
    rates = [float(text.removesuffix("/s")) for text in seen]
    assert all(0 < rate < 100 for rate in rates), seen


def test_charts_tell_their_values_to_pointer_and_keyboard(
    busy: ControlPort, open_tab: Open
) -> None:
    """A tooltip names the second and each line's value; arrow keys move it."""
    visit = open_tab(busy)
    visit.sign_in()
    page = visit.page
    chart = page.get_by_role("figure", name="Allowed and blocked")
    chart.scroll_into_view_if_needed()
    box = chart.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 40)
    chart.locator(".tip", has_text="allowed").wait_for()
    page.mouse.move(5, 5)
    chart.locator(".tip").wait_for(state="hidden")
    chart.locator(".plot").focus()
    page.keyboard.press("ArrowLeft")
    first = chart.locator(".tip time").inner_text()
    page.keyboard.press("PageDown")
    page.wait_for_function(
        "first => document.querySelector('.tip:not([hidden]) time').textContent < first", arg=first
    )


def test_a_request_shows_its_way_through_the_gateway(busy: ControlPort, open_tab: Open) -> None:
    """Key, limits, the provider that failed, the one that answered: step by step, with times."""
    visit = open_tab(busy)
    visit.sign_in("#/requests?model=shaky")
    page = visit.page
    page.locator("tr.row", has_text="+1").first.wait_for()
    page.get_by_role("button", name="Pause").click()
    row = page.locator("tr.row", has_text="+1").first
    row.get_by_role("button").focus()
    page.keyboard.press("Enter")
    steps = page.locator(".way li").all_inner_texts()
    assert len(steps) >= 5
    assert "ci" in steps[0]
    assert "passed" in steps[1]
    assert "acme" in steps[2]
    assert "failed" in steps[2]
    assert "spare" in steps[-2]
    assert "Answer 200" in steps[-1]
    assert all("ms" in step or "µs" in step for step in steps[2:])


def test_blocked_and_refused_requests_are_listed_too(busy: ControlPort, open_tab: Open) -> None:
    """A 429 names its limit; a key that nobody has is seen as refused."""
    visit = open_tab(busy)
    visit.sign_in("#/requests?status=429")
    visit.page.locator("tr.row button").first.click()
    visit.page.locator(".way li", has_text="blocked by tight").wait_for()
    visit.go("#/requests")
    visit.page.get_by_label("Outcome").select_option("invalid_api_key")
    visit.page.locator("tr.row", has_text="401").first.wait_for()
    assert "outcome=invalid_api_key" in visit.page.url


def test_pause_holds_the_list_still(busy: ControlPort, open_tab: Open) -> None:
    """While paused no row moves, new ones are counted; resuming shows them."""
    visit = open_tab(busy)
    visit.sign_in("#/requests")
    page = visit.page
    page.locator("tr.row").first.wait_for()
    page.get_by_role("button", name="Pause").click()
    ids = "[...document.querySelectorAll('tr.row')].map(row => row.textContent).join()"
    before = page.evaluate(ids)
    page.wait_for_function(
        "() => /Paused, [1-9]/.test(document.querySelector('.shown').textContent)"
    )
    assert page.evaluate(ids) == before
    page.get_by_role("button", name="Resume").click()
    page.wait_for_function(f"before => {ids} !== before", arg=before)


def test_usage_limits_providers_and_workers_are_shown(busy: ControlPort, open_tab: Open) -> None:
    """Each table holds what the configuration names and the traffic used."""
    visit = open_tab(busy)
    visit.sign_in("#/keys")
    page = visit.page
    usage = page.get_by_role("table", name="Usage by key")
    usage.get_by_role("link", name="ci", exact=True).wait_for()
    page.get_by_role("table", name="Limits").get_by_text("tight").wait_for()
    page.locator(".subjects li", has_text="bot").first.wait_for()
    visit.go("#/providers")
    page.get_by_role("button", name="acme").click()
    page.get_by_role("heading", name="acme").wait_for()
    heading = page.get_by_role("columnheader", name="Errors")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    visit.go("#/runtime")
    workers = page.get_by_role("table", name="Workers")
    workers.get_by_text("ready").wait_for()
    workers.get_by_text("MiB").wait_for()


def test_a_day_and_a_quarter_of_an_hour(busy: ControlPort, open_tab: Open) -> None:
    """The range is part of the address and goes along to the next page."""
    visit = open_tab(busy)
    visit.sign_in()
    visit.page.get_by_role("radio", name="24 h").check(force=True)
    visit.page.get_by_role("region", name="Last 24 hours").wait_for()
    visit.page.get_by_role("link", name="Runtime").click()
    visit.page.get_by_role("heading", name="Runtime", level=1).wait_for()
    assert visit.page.get_by_role("radio", name="24 h").is_checked()


def test_the_chosen_colours_are_remembered(busy: ControlPort, open_tab: Open) -> None:
    """Dark chosen on a light system stays dark after a reload."""
    visit = open_tab(busy, color_scheme="light")
    visit.sign_in()
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = visit.page.evaluate(ground)
    visit.page.get_by_label("Dark").check(force=True)
    dark = visit.page.evaluate(ground)
    assert dark != light
    visit.page.reload()
    visit.page.locator(".link.live").wait_for()
    assert visit.page.evaluate(ground) == dark


def test_the_menu_of_a_phone_opens_and_closes(busy: ControlPort, open_tab: Open) -> None:
    """Navigation is one button away, and Escape gives the focus back to it."""
    visit = open_tab(busy, viewport={"width": 375, "height": 720})
    visit.sign_in()
    page = visit.page
    assert not page.get_by_role("link", name="Runtime").is_visible()
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("link", name="Runtime").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Open menu").wait_for()
    page.get_by_role("button", name="Open menu").click()
    page.get_by_role("link", name="Runtime").click()
    page.get_by_role("heading", name="Runtime", level=1).wait_for()
    assert not page.get_by_role("link", name="Alerts").is_visible()


def test_a_broken_stream_is_said_and_mended(busy: ControlPort, open_tab: Open) -> None:
    """Without its events the page says that it reconnects, and lives again by itself."""
    visit = open_tab(busy)
    page = visit.page
    page.route("**/api/live", lambda route: route.abort())
    page.goto(busy.url)
    page.get_by_label("Admin token").fill(busy.token)
    page.keyboard.press("Enter")
    page.get_by_text("Reconnecting").wait_for()
    page.unroute("**/api/live")
    page.locator(".link.live").wait_for()
    assert all("ERR_FAILED" in problem for problem in visit.problems), visit.problems
    visit.problems.clear()


def test_figures_that_stop_coming_are_called_stale(busy: ControlPort, open_tab: Open) -> None:
    """Over a stream that is open but silent the page says how old its figures are."""
    visit = open_tab(busy)
    visit.sign_in()
    visit.page.wait_for_function("() => document.querySelector('.tile .figure').textContent > '0'")
    control = control_pid(busy)
    os.kill(control, signal.SIGSTOP)
    try:
        visit.page.get_by_text("Stale: ").wait_for()
    finally:
        os.kill(control, signal.SIGCONT)
    visit.page.locator(".link.live").wait_for()


def test_every_alert_rule_is_listed_with_its_state(busy: ControlPort, open_tab: Open) -> None:
    """The rules are those of the rule files; each says whether it fires."""
    visit = open_tab(busy)
    visit.sign_in("#/alerts")
    rule = visit.page.get_by_role("row", name="HighRateLimitBlocking")
    rule.wait_for()
    assert any(word in rule.inner_text() for word in ("ok", "pending", "firing"))


def test_a_session_that_ended_leads_to_the_login(busy: ControlPort, open_tab: Open) -> None:
    """When the cookie is gone, the next question that is refused shows the form again."""
    visit = open_tab(busy)
    visit.sign_in()
    visit.page.context.clear_cookies()
    visit.page.get_by_label("Admin token").wait_for()


def test_a_fresh_gateway_says_how_to_begin(tmp_path: Path, open_tab: Open) -> None:
    """Before the first request there is the line that makes one; after it there are figures."""
    gateway, place = start(tmp_path, None, {"BOT_KEY": BOT_KEY})
    try:
        visit = open_tab(place, viewport={"width": 375, "height": 720})
        visit.sign_in()
        wide = "() => [...document.querySelectorAll('main .card')].filter(c => c.scrollWidth > 375)"
        assert visit.page.evaluate(f"({wide})().length") == 0
        line = visit.page.get_by_role("region", name="Command for a first request").inner_text()
        assert f"curl {place.address}/v1/chat/completions" in line
        assert '"model": "demo"' in line
        key = next(word for text in gateway.output for word in text.split() if word[:3] == "tg-")
        assert ask(place.address, key, "demo") == 200
        visit.page.get_by_text("No traffic yet").wait_for(state="hidden")
        visit.page.close()
    finally:
        gateway.stop()
