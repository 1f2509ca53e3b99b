"""Web pages: a browser on this machine reaches a server on loopback, and any page may send it there."""
from client import *

ASK = {"prompt": "x", "max_tokens": 1}


def post(s, origin):
    return s.ask("POST", "/v1/completions", ASK, [f"Origin: {origin}"])


@test
def web_pages_are_refused_unless_they_are_allowed():
    with Server("fake:") as s:
        for origin in ("http://evil.example", "null", f"http://127.0.0.1:{s.port}", "", "x" * 5000):
            r = post(s, origin)
            equal((r.status, r.error()["code"]), (403, "origin_not_allowed"), origin)
            assert "--allow-origin" in r.error()["message"]
            assert "access-control-allow-origin" not in r.headers
        equal(s.ask("GET", "/v1/models", headers=["Origin: http://evil.example"]).status, 403)
        equal(s.ask("OPTIONS", "/v1/completions", headers=["Origin: http://evil.example"]).status, 403)
        equal(s.health()["accepted"], 0)
        with s.connect() as c:  # it counts for its own request only
            equal(c.ask("GET", "/health", headers=["Origin: null"]).reply().status, 403)
            equal(c.ask("GET", "/health").reply().status, 200)


@test
def allowed_pages_are_answered_in_the_terms_of_cors():
    with tempfile.NamedTemporaryFile("w") as f:
        f.write("secret\n")
        f.flush()
        with Server("fake:", "--allow-origin", "http://localhost:3000,app://editor", "--api-key-file", f.name) as s:
            key = "Authorization: Bearer secret"
            for origin in ("http://localhost:3000", "app://editor"):
                r = s.ask("OPTIONS", "/v1/completions", headers=[f"Origin: {origin}", "Access-Control-Request-Method: POST"])
                equal((r.status, r.headers["access-control-allow-origin"]), (204, origin))
                assert "POST" in r.headers["access-control-allow-methods"]
                assert "Authorization" in r.headers["access-control-allow-headers"]
                for stream in (False, True):
                    r = s.ask("POST", "/v1/completions", {**ASK, "stream": stream}, [f"Origin: {origin}", key])
                    equal((r.status, r.headers["access-control-allow-origin"], r.headers["vary"]), (200, origin, "Origin"))
                r = s.ask("POST", "/v1/completions", ASK, [f"Origin: {origin}"])
                equal((r.status, r.headers["access-control-allow-origin"]), (401, origin), "a page may read why")
            for origin in ("http://localhost:300", "http://localhost:3000,app://editor", "app://editor/", "*", "null", ""):
                equal(post(s, origin).status, 403, origin)
            equal(s.ask("POST", "/v1/completions", ASK, [key]).status, 200)
            assert "vary" not in s.ask("GET", "/health").headers
    with Server("fake:", "--allow-origin", "*") as s:
        r = post(s, "http://anything.example")
        equal((r.status, r.headers["access-control-allow-origin"]), (200, "http://anything.example"))


main()
