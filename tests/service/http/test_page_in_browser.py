"""The page in a real browser: every screen by keyboard, answers as the API gives them, no other host."""

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Request, Response, Route, expect, sync_playwright

from tests.service.processes import Server, run_cli, serving, wait_for
from tests.service.queries import Json, answer, digit, noisy_digit, picture, saved, tensor

CHROMIUM = Path("/usr/bin/chromium")
EXAMPLE = Path(__file__).parents[3] / "service/http/page/examples/digits-cnn/digits-0060.png"
WEIGHT = 150 * 1024

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, demo_server: Server) -> Iterator[Page]:
    """The page, opened; at the end nothing was asked of another host, and nothing went wrong in it."""
    page = browser.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(demo_server.url)
    expect(page.get_by_role("heading", name="Ask with a picture")).to_be_visible()
    yield page
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(demo_server.url).netloc}
    assert [text for text in wrong if "422" not in text and "415" not in text] == []
    page.close()


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server with an empty gallery, and the key that it asks for."""
    data = tmp_path_factory.mktemp("keyed")
    made = run_cli(data, "keys", "create", "a person", "--scope", "admin")
    assert made.returncode == 0, made.stderr
    with serving(data) as server:
        yield server, made.stdout.split()[-1]


def tab_to(page: Page, target: Locator) -> None:
    """Go to `target` by the Tab key."""
    for _ in range(40):
        if target.evaluate("node => node === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not reach {target}")


def verdict(page: Page) -> Locator:
    return page.locator(".verdict")


def answered(page: Page) -> None:
    expect(page.get_by_role("heading", name="What a change of that size looks like")).to_be_visible(
        timeout=20_000
    )


def shows(page: Page, body: Json) -> None:
    """The page shows the answer `body` of the API, and nothing better."""
    certificate, neighbor = body["certificate"], body["neighbor"]
    radius = f"{int(certificate['radius'] * 1000) / 1000:.3f}"
    expect(verdict(page)).to_contain_text(f"{neighbor['label']}, certified within {radius}")
    expect(verdict(page)).to_contain_text(f"α = {certificate['alpha']}")
    expect(verdict(page)).to_contain_text(f"from {certificate['samples']:,} noisy copies")
    nearest = page.get_by_role("figure").filter(has_text="Nearest:")
    expect(nearest).to_contain_text(f"{neighbor['id']}, distance {neighbor['distance']:.3f}")
    rival = body["explanation"]["rival"]
    shown = page.get_by_role("figure").filter(has_text="Likely rival:")
    expect(shown).to_contain_text(f"{rival['label']}{rival['id']}, distance {rival['distance']:.3f}")
    runners = page.locator(".runners li").all_inner_texts()
    assert [text.split() for text in runners] == [
        [item["label"], f"{item['distance']:.3f}"] for item in body["neighbors"]
    ]


ASKED = {"top_k": 7, "explain": "true"}


def test_an_example_is_one_key_away_and_answered_as_by_the_api(demo_server: Server, page: Page) -> None:
    tab_to(page, page.get_by_role("button", name="A handwritten 3"))
    page.keyboard.press("Enter")
    answered(page)
    body = answer(demo_server.client, EXAMPLE.read_bytes(), **ASKED)
    shows(page, body)
    for name in (f"Nearest neighbour, label {body['neighbor']['label']}", "The picture that you asked with"):
        image = page.get_by_role("img", name=name)
        assert image.evaluate("node => node.complete && node.naturalWidth") == 8


def test_what_the_model_sees_is_shown_pixel_by_pixel(page: Page) -> None:
    page.get_by_label("Drop a picture").set_input_files(
        {"name": "three.png", "mimeType": "image/png", "buffer": digit(3)}
    )
    answered(page)
    seen = page.get_by_role("img", name="The picture as the model sees it")
    shown = seen.evaluate("node => [...node.getContext('2d').getImageData(0, 0, 8, 8).data]")
    assert np.array_equal(np.reshape(shown, (8, 8, 4))[..., 0], np.rint(255 * tensor(3)[0]))


def test_a_picture_may_be_dropped_or_pasted(demo_server: Server, page: Page) -> None:
    for kind, (row, seed) in {"drop": (8, 3), "paste": (9, 4)}.items():
        content = noisy_digit(row, seed=seed)
        page.evaluate(
            """([kind, content]) => {
                const data = new DataTransfer();
                const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
                data.items.add(new File([bytes], "picture.png", { type: "image/png" }));
                const target = document.querySelector(".drop");
                target.dispatchEvent(kind === "drop"
                    ? new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true })
                    : new ClipboardEvent(kind, { clipboardData: data, bubbles: true }));
            }""",
            [kind, base64.b64encode(content).decode()],
        )
        answered(page)
        shows(page, answer(demo_server.client, content, **ASKED))


def test_a_digit_is_drawn_with_the_keyboard_and_sent_as_exact_pixels(demo_server: Server, page: Page) -> None:
    tab_to(page, page.get_by_text("Draw one"))
    page.keyboard.press("Enter")
    board = page.get_by_role("application", name="Drawing board")
    tab_to(page, board)
    for key in ["ArrowUp"] * 3 + [" ", "ArrowDown"] * 6:
        page.keyboard.press(key)
    expect(page.get_by_text("Row 8, column 5: empty")).to_be_attached()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Backspace")
    tab_to(page, page.get_by_role("button", name="Ask with it"))
    with page.expect_request("**/retrieve*") as sent:
        page.keyboard.press("Enter")
    body = sent.value.post_data_json
    drawn = np.zeros((1, 8, 8))
    drawn[0, 1:6, 4] = 1
    assert np.array_equal(body["pixels"], drawn)
    answered(page)
    found = demo_server.client.post("/retrieve", json=body).json()
    expect(verdict(page)).to_contain_text(f"{found['neighbor']['label']}, ")


def test_a_pen_draws_a_line(page: Page) -> None:
    page.get_by_text("Draw one").click()
    board = page.get_by_role("application", name="Drawing board")
    box = board.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 0.9 * box["height"], steps=3)
    page.mouse.up()
    with page.expect_request("**/retrieve*") as sent:
        page.get_by_role("button", name="Ask with it").click()
    pixels = np.array(sent.value.post_data_json["pixels"][0])
    assert pixels[1:7, 3:5].min() > 0.5
    assert pixels[:, [0, 1, 6, 7]].max() == 0


def test_the_radius_is_drawn_against_the_samples_with_the_target_as_a_line(
    demo_server: Server, page: Page
) -> None:
    page.get_by_text("What to ask for").click()
    page.get_by_label("What must stay the same").select_option("item")
    page.get_by_label("A radius to reach").fill("0.05")
    page.get_by_label("Samples, at most").fill("20000")
    image = noisy_digit(11, seed=5)
    page.get_by_label("Drop a picture").set_input_files(
        {"name": "picture.png", "mimeType": "image/png", "buffer": image}
    )
    answered(page)
    expect(page.locator("text.target")).to_have_text("target 0.05")
    asked = ASKED | {"guarantee": "item", "target_radius": 0.05, "max_samples": 20000}
    certificate = answer(demo_server.client, image, **asked)["certificate"]
    radius = f"{int(certificate['radius'] * 1000) / 1000:.3f}"
    label = f"Radius against samples: {radius} after {certificate['samples']:,} samples, target 0.05"
    expect(page.get_by_role("img", name=label)).to_be_visible()
    assert page.locator("circle.radius").count() >= 1


def test_stop_ends_the_query_and_what_was_certified_holds(demo_server: Server, page: Page) -> None:
    left = demo_server.metric("retrievalguard_queries_abandoned_total")
    # As many samples as there may be, so that there is something to stop.
    page.route("**/v1/retrieve*", lambda route: route.continue_(url=f"{route.request.url}&min_gain=0"))
    page.get_by_text("What to ask for").click()
    page.get_by_label("Samples, at most").fill("100000")
    page.get_by_label("Drop a picture").set_input_files(
        {"name": "picture.png", "mimeType": "image/png", "buffer": noisy_digit(15, seed=9)}
    )
    expect(page.locator("circle.radius").first).to_be_attached(timeout=20_000)
    stop = page.get_by_role("button", name="Stop")
    stop.press("Enter")
    expect(verdict(page)).to_contain_text("What was certified by then holds.")
    expect(stop).not_to_be_attached()
    wait_for(lambda: demo_server.metric("retrievalguard_queries_abandoned_total") > left)


def test_a_change_is_as_large_as_it_says_and_within_the_radius_the_answer_stays(
    demo_server: Server, page: Page
) -> None:
    page.get_by_role("button", name="A handwritten 3").click()
    answered(page)
    body = answer(demo_server.client, EXAMPLE.read_bytes(), **ASKED)
    radius, label = body["certificate"]["radius"], body["neighbor"]["label"]
    original = decoded(demo_server, EXAMPLE.read_bytes())
    slider = page.get_by_role("slider", name="Size of the change")
    said = page.locator(".choice > p").first
    slider.focus()
    for kind in ("noise", "going straight to the rival's picture"):
        page.get_by_label(kind).check()
        for keys in (["Home"], ["PageUp"] * 3 + ["ArrowRight"], ["End"]):
            for key in keys:
                slider.press(key)
            with page.expect_response("**/retrieve*") as replied:
                page.get_by_role("button", name="Ask with this change").click()
            changed = np.array(sent_to(replied.value.request)["pixels"])
            size = float(np.linalg.norm(changed - original))
            assert changed.min() >= 0
            assert changed.max() <= 1
            expect(said).to_contain_text(f"{size:.3f} is")
            # It is never called safe, and promised is only what is below the radius.
            inside = size < radius
            expect(said).to_contain_text("Promised" if inside else "Not known")
            reply = replied.value.json()["neighbor"]["label"]
            expect(page.locator(".choice [role=status]")).to_contain_text(f"{reply}: ")
            if inside:
                assert reply == label
        assert not inside  # at its end
    assert "safe" not in page.locator("body").inner_text().lower()
    rival = body["explanation"]["rival"]
    assert np.allclose(changed, decoded(demo_server, image_of(demo_server, rival["id"])), atol=1e-6)


def decoded(server: Server, content: bytes) -> "np.typing.NDArray[np.float32]":
    body = server.client.post("/model/input", content=content).json()
    return np.frombuffer(base64.b64decode(body["pixels"]), "<f4").reshape(body["shape"])


def image_of(server: Server, item: str) -> bytes:
    return server.client.get(f"/gallery/images/{item}").content


def sent_to(request: Request) -> Json:
    body: Json = json.loads(request.post_data or "")
    return body


# A query that is certified to .14 for the label: an attack finds another answer near it.
CLOSE = digit(23)


def ask_with(page: Page, image: bytes) -> None:
    page.get_by_label("Drop a picture").set_input_files(
        {"name": "picture.png", "mimeType": "image/png", "buffer": image}
    )
    answered(page)


def test_an_attack_inside_the_radius_fails_and_one_outside_of_it_is_shown(
    demo_server: Server, page: Page
) -> None:
    page.get_by_text("What to ask for").click()
    page.get_by_label("Samples, at most").fill("2000")
    ask_with(page, CLOSE)
    before = answer(demo_server.client, CLOSE, max_samples=2000, **ASKED)
    radius, label = before["certificate"]["radius"], before["neighbor"]["label"]
    outcomes = page.locator(".attack [role=status]")
    changed = []
    for times, where in ((0.9, "Inside"), (2, "Outside"), (4, "Outside")):
        button = page.get_by_role("button", name=f"{where}, by {times * radius:.3f}")
        tab_to(page, button)
        with page.expect_response("**/v1/attack*") as replied:
            page.keyboard.press("Enter")
        body = replied.value.json()
        assert body["answer"]["certificate"]["radius"] == radius
        assert (body["size"] < radius) == (times < 1) == body["inside"]
        now = body["moved"]["neighbor"]["label"]
        if times < 1:
            assert now == label
            expect(outcomes).to_have_text(f"Inside: the answer stays {label}, as promised.")
        elif body["changed"]:
            expect(outcomes).to_have_text(f"Outside: the answer is {now}. Nothing was promised.")
        else:
            expect(outcomes).to_have_text(f"Outside: the answer stays {now}. A better attack may change it.")
        changed.append(body["changed"])
        shown = page.get_by_role("img", name=f"The input that an attack of {body['size']:.3f} led to")
        pixels = np.frombuffer(base64.b64decode(body["pixels"]), "<f4").reshape(8, 8)
        painted = shown.evaluate("node => [...node.getContext('2d').getImageData(0, 0, 8, 8).data]")
        assert np.abs(np.reshape(painted, (8, 8, 4))[..., 0] - 255 * pixels).max() <= 0.51
    assert changed == [False, changed[1], True]
    expect(page.get_by_role("alert")).not_to_be_attached()
    page.locator(".examples button").first.click()
    expect(page.locator(".attack figure")).to_have_count(0)


def test_a_promise_that_is_broken_is_told_loudly_with_what_repeats_it(page: Page) -> None:
    def break_it(route: Route) -> None:
        body = route.fetch().json()
        other = "0" if body["answer"]["neighbor"]["label"] != "0" else "1"
        body |= {"inside": True, "changed": True, "broken": True}
        body["moved"]["neighbor"]["label"] = other
        route.fulfill(json=body)

    page.route("**/v1/attack*", break_it)
    page.get_by_text("What to ask for").click()
    page.get_by_label("Samples, at most").fill("2000")
    ask_with(page, CLOSE)
    page.get_by_role("button", name="Inside, by").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("This is a bug, please report it.")
    with page.expect_download() as downloaded:
        alert.get_by_role("link").click()
    told = json.loads(downloaded.value.path().read_text())
    assert told["query"]["options"]["guarantee"] == "label"
    sizes = np.subtract(told["attack"]["pixels"], told["query"]["pixels"])
    assert np.linalg.norm(sizes) == pytest.approx(told["attack"]["size"], abs=1e-6)


def test_where_attacks_are_off_there_is_no_button(browser: Browser, redis_backed_server: Server) -> None:
    page = browser.new_page()
    page.goto(redis_backed_server.url)
    ask_with(page, CLOSE)
    expect(page.get_by_text("Try to break it")).not_to_be_attached()
    page.close()


def test_what_is_no_picture_and_what_is_lost_are_told(page: Page) -> None:
    chosen = page.get_by_label("Drop a picture")
    chosen.set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"nothing"})
    expect(page.get_by_role("alert")).to_contain_text("PNG, JPEG or WebP")
    colourful = picture(3).resize((200, 200)).convert("HSV").point(lambda value: 200).convert("RGB")
    large = saved(colourful, "PNG")
    chosen.set_input_files({"name": "b.png", "mimeType": "image/png", "buffer": large})
    expect(page.locator(".loss").first).to_contain_text("Its colours are lost")
    expect(page.locator(".loss").last).to_contain_text("it is shrunk 25 times")


def test_every_screen_is_reached_by_keyboard_and_says_what_the_api_does(
    demo_server: Server, page: Page
) -> None:
    model = demo_server.client.get("/model").json()
    tab_to(page, page.get_by_role("link", name="Model"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="digits-cnn")).to_be_visible()
    expect(page.locator("main")).to_be_focused()
    expect(page.locator("main")).to_contain_text(model["digest"])
    expect(page.locator("main")).to_contain_text("handwritten digits, 8 × 8, grey")
    expect(page.get_by_label("The request with curl")).to_contain_text(f"{demo_server.url}/v1/retrieve")
    page.keyboard.press("Shift+Tab")
    tab_to(page, page.get_by_role("link", name="Gallery"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Gallery")).to_be_visible()
    expect(page.locator("main")).to_contain_text("600 items, 10 labels")


def test_the_gallery_is_read_page_by_page_and_asked_with(demo_server: Server, page: Page) -> None:
    page.get_by_role("link", name="Gallery").click()
    later = page.get_by_role("button", name="Later")
    tab_to(page, later)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Page 2")).to_be_visible()
    listed = demo_server.client.get("/gallery/items", params={"limit": 120}).json()["items"][60:]
    expect(page.locator(".items img").first).to_have_attribute("alt", f"Item {listed[0]['id']}")
    assert page.locator(".items span").all_inner_texts() == [item["label"] for item in listed]
    label = page.get_by_role("combobox", name="Label")
    label.fill("7")
    label.press("Enter")
    expect(page.get_by_text("Page 1")).to_be_visible()
    expect(page.locator(".items span").filter(has_not_text="7")).to_have_count(0)
    first = page.locator(".items button").first
    tab_to(page, first)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="7")
    item = dialog.locator("code").inner_text()
    assert demo_server.client.get(f"/gallery/items/{item}").json()["label"] == "7"
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_attached()
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, dialog.get_by_role("button", name="Ask with this"))
    page.keyboard.press("Enter")
    answered(page)
    shows(page, answer(demo_server.client, image_of(demo_server, item), **ASKED))


def test_pictures_are_added_relabelled_and_deleted(browser: Browser, empty_server: Server) -> None:
    page = browser.new_page()
    page.goto(f"{empty_server.url}#gallery")
    expect(page.get_by_text("There is none.")).to_be_visible()
    page.get_by_text("Add pictures").press("Enter")
    files = [
        {"name": name, "mimeType": "image/png", "buffer": content}
        for name, content in (("a.png", digit(0)), ("b.png", digit(1)), ("broken.png", b"nothing"))
    ]
    page.get_by_label("Pictures", exact=True).set_input_files(files)
    page.get_by_label("Their label").fill("round & black")
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 of 3 added.")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("broken.png: ")).to_contain_text("PNG, JPEG or WebP")
    assert empty_server.client.get("/gallery").json()["labels"] == {"round & black": 2}
    expect(page.locator("main")).to_contain_text("2 items, 1 label")
    page.get_by_role("button", name="Item a.png").press("Enter")
    dialog = page.get_by_role("dialog", name="round & black")
    dialog.get_by_label("Label").fill("zero")
    page.keyboard.press("Enter")
    expect(dialog).not_to_be_attached()
    changed = page.locator(".items button").filter(has_text="zero")
    expect(changed).to_have_count(1)
    assert empty_server.client.get("/gallery/items/a.png").json()["label"] == "zero"
    changed.press("Enter")
    delete = page.get_by_role("button", name="Delete")
    delete.press("Enter")
    assert empty_server.client.get("/gallery").json()["size"] == 2  # asked twice
    delete.press("Enter")
    expect(page.locator(".items li")).to_have_count(1)
    assert empty_server.client.get("/gallery/items/a.png").status_code == 404
    page.close()


def archive(count: int) -> bytes:
    """A zip file of `count` digits of one label, and a file that is no picture."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for row in range(count):
            file.writestr(f"many/{row}.png", noisy_digit(row % 100, seed=row))
        file.writestr("many/broken.png", b"nothing")
    return buffer.getvalue()


def test_an_archive_is_added_with_progress_a_report_and_cancel(
    browser: Browser, keyed: tuple[Server, str]
) -> None:
    server, key = keyed
    page = browser.new_page()
    page.goto(f"{server.url}#gallery")
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_text("There is none.")).to_be_visible()
    page.get_by_text("Add an archive").press("Enter")

    def start(name: str, content: bytes, prefix: str) -> Locator:
        file = {"name": name, "mimeType": "application/zip", "buffer": content}
        page.get_by_label("A zip, tar or tar.gz").set_input_files(file)
        page.get_by_label("Before every id").fill(prefix)
        page.get_by_role("button", name="Start").press("Enter")
        return page.locator(".jobs li").first

    job = start("few.zip", archive(3), "few/")
    expect(job).to_contain_text("done, few/", timeout=30_000)
    expect(job).to_contain_text("3 added, 1 refused")
    expect(page.locator("main")).to_contain_text("3 items, 1 label")
    job.get_by_text("Report").press("Enter")
    expect(job.locator("li")).to_contain_text("many/broken.png: ")
    job.get_by_role("button", name="Forget").press("Enter")
    expect(page.locator(".jobs")).not_to_be_attached()

    job = start("many.zip", archive(2_000), "many/")
    progress = job.get_by_role("progressbar", name="Progress of many/")
    expect(progress).to_have_attribute("max", "2001", timeout=30_000)
    expect(job).to_contain_text("running, many/")
    job.get_by_role("button", name="Cancel").press("Enter")
    expect(job).to_contain_text("cancelled, many/", timeout=30_000)
    expect(progress).not_to_be_attached()
    assert Axe().run(page).violations_count == 0
    admin = {"x-api-key": key}
    size = server.client.get("/gallery", headers=admin).json()["size"]
    assert 3 <= size < 2_003
    expect(page.locator("main")).to_contain_text(f"{size:,} items")
    start("no.zip", b"", "")
    expect(page.get_by_text("no.zip: ")).to_contain_text("send an archive")
    page.close()
    server.client.delete("/gallery/items", params={"label": "many"}, headers=admin)


def test_a_named_gallery_is_asked(browser: Browser, empty_server: Server) -> None:
    client = empty_server.client
    for row in range(6):
        client.post("/gallery/items", params={"id": str(row), "label": f"row{row}"}, content=digit(row))
    client.put("/galleries/late", json={"filter": {"id": {"$in": ["1", "4"]}}})
    page = browser.new_page()
    page.goto(empty_server.url)
    page.get_by_text("What to ask for").click()
    chosen = page.get_by_role("combobox", name="Gallery")
    expect(chosen.get_by_role("option")).to_have_text(["all items", "late"])
    page.get_by_label("Drop a picture").set_input_files(
        {"name": "one.png", "mimeType": "image/png", "buffer": digit(1)}
    )
    answered(page)
    shows(page, answer(client, digit(1), **ASKED))
    chosen.select_option("late")
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".runners li")).to_have_count(1)
    shows(page, answer(client, digit(1), gallery="late", **ASKED))
    with page.expect_request("**/retrieve?*gallery=late*"):
        page.get_by_role("button", name="Ask with this change").click()
    page.close()
    client.delete("/galleries/late")


def test_all_of_it_is_light(browser: Browser, demo_server: Server) -> None:
    page = browser.new_page()
    got: list[Response] = []
    page.on("response", lambda response: got.append(response))
    page.goto(demo_server.url, wait_until="networkidle")
    weight = sum(len(response.body()) for response in got)
    assert len(got) > 15
    assert weight <= WEIGHT
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 380)])
def test_axe_finds_nothing_on_any_screen(
    browser: Browser, demo_server: Server, scheme: str, width: int
) -> None:
    page = browser.new_page(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page.goto(demo_server.url)
    page.get_by_role("button", name="A handwritten 3").click()
    answered(page)
    page.get_by_role("button", name="Inside, by").click()
    expect(page.get_by_text("as promised").first).to_be_visible()
    for title in ("Draw one", "What to ask for"):
        page.get_by_text(title, exact=True).click()
    for screen in ("Ask", "Gallery", "Model"):
        page.get_by_role("link", name=screen).click()
        page.wait_for_timeout(250)  # colours of links fade
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        # Nothing has to be scrolled sideways.
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_where_a_key_is_needed_the_page_asks_for_it(browser: Browser, keyed: tuple[Server, str]) -> None:
    server, key = keyed
    page = browser.new_page()
    page.goto(server.url)
    field = page.get_by_label("Key")
    field.fill("wrong")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not known here")
    field.fill(key)
    field.press("Enter")
    expect(page.get_by_role("heading", name="Ask with a picture")).to_be_visible()
    page.get_by_role("button", name="A handwritten 3").click()
    expect(page.get_by_role("alert")).to_contain_text("the gallery is empty")
    page.reload()  # it is kept as long as the tab is open
    expect(page.get_by_role("heading", name="Ask with a picture")).to_be_visible()
    page.get_by_role("link", name="Forget the key").click()
    expect(field).to_be_visible()
    page.close()
