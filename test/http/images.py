"""Images in chats over HTTP: each client hears about its own, data URLs alone are taken, and what is wrong is told by its
place. On the fake, and on libmtmd with the built-in model and a made projector."""
import base64
import struct
import zlib

from client import *

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools")


def png(seed, width=24, height=20):
    raw = b"".join(b"\0" + bytes((seed * 31 + x * 7 + y * 13) * (x + y + seed) % 256 for x in range(3 * width))
                   for y in range(height))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def url(data, kind="png"):
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def image(data):
    return {"type": "image_url", "image_url": {"url": url(data), "detail": "auto"}}


def content(seed):
    return [{"type": "text", "text": "What is in"}, image(png(seed)), {"type": "text", "text": "this image?"}]


def each_hears_of_its_own(s):
    def one(i, stream):
        r = s.chat(content(i), stream=stream, max_tokens=24)
        equal(r.status, 200, r.body)
        return r.text()
    alone = [one(i, False) for i in range(6)]
    assert len(set(alone)) > 3, alone
    for k in range(2):
        equal(at_once(6, lambda i: one(i, (i + k) % 2 == 0)), alone)


@test
def each_client_hears_of_its_own_image():
    for owner in [], ["--owner", "thread"]:
        with Server("fake:token_us=20", "--mmproj", "fake", "--sequences", "3", *owner) as s:
            each_hears_of_its_own(s)


@test
def what_is_wrong_with_an_image_is_told_by_its_place():
    with Server("fake:", "--mmproj", "fake", "--owner", "thread") as s:
        def refused(part, *words):
            r = s.chat([{"type": "text", "text": "What?"}, part])
            equal(r.status, 400, r.body)
            for word in words:
                assert word in r.body.decode(), (word, r.body)
        refused({"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}, "messages[0].content[1]",
                "fetches no URL", "http://127.0.0.1:1/x.png")
        refused({"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlh"}}, "fetches no URL")
        refused({"type": "image_url", "image_url": {"url": "data:image/png;base64,A B"}}, "is no base64")
        refused({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, "is no base64")
        refused({"type": "image_url", "image_url": "data:image/png;base64,AAAA"}, "messages[0].content[1]", "expected")
        refused({"type": "input_audio"}, "only parts of type text and image_url")
        refused(image(b"no image"), "image 0", "PNG or JPEG")
        refused(image(png(1)[:-15]), "image 0 is a damaged PNG")
        many = s.chat([image(png(1))] * 65)
        equal((many.status, many.error()["code"]), (400, "invalid_value"), many.body)
        equal(s.chat(content(1)).status, 200)


@test
def a_model_without_a_projector_says_so():
    with Server("fake:") as s:
        r = s.chat(content(1))
        equal(r.status, 400, r.body)
        assert "--mmproj" in r.body.decode(), r.body


@test
def the_built_in_model_sees():
    if SANITIZER == "thread":
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "mmproj.gguf")
        subprocess.run([sys.executable, os.path.join(TOOLS, "make_mmproj.py"), path, "--for", "128"], check=True)
        r = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, timeout=BOUND)
        if "libmtmd" not in r.stdout:
            return
        for owner in [], ["--owner", "thread"]:
            with Server(None, "--mmproj", path, "--sequences", "3", *owner) as s:
                each_hears_of_its_own(s)


main()
