"""The shape of OpenAI's API: answers, streams, usage, models, errors; and curl as a client that is not ours."""
from client import *

FAKE = "fake:len=12"


@test
def a_chat_and_its_stream_say_the_same():
    with Server(FAKE) as s:
        whole, stream = s.chat("a lease?"), s.chat("a lease?", stream=True)
        equal(whole.status, 200)
        equal(whole.headers["content-type"], "application/json")
        equal(stream.headers["content-type"], "text/event-stream")
        body = whole.json()
        equal(body["object"], "chat.completion")
        equal(body["id"], "chatcmpl-" + whole.headers["x-request-id"])
        equal(body["choices"][0]["message"]["role"], "assistant")
        assert body["choices"][0]["message"]["content"]
        equal(whole.text(), stream.text())
        equal(whole.finish(), "stop")
        equal(stream.finish(), "stop")
        usage = body["usage"]
        equal(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])
        assert usage["completion_tokens"] == 12, usage
        assert "cached_tokens" in usage["prompt_tokens_details"]


@test
def a_stream_begins_with_the_role_and_ends_with_done():
    with Server(FAKE) as s:
        events = s.chat(stream=True, stream_options={"include_usage": True}).events()
        equal(events[-1], "[DONE]")
        equal({e["object"] for e in events[:-1]}, {"chat.completion.chunk"})
        equal(len({e["id"] for e in events[:-1]}), 1)
        equal(events[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        equal(events[-2]["choices"], [])
        equal(events[-2]["usage"]["completion_tokens"], 12)
        equal(events[-3]["choices"][0]["finish_reason"], "stop")
        assert all(e["usage"] is None for e in events[:-2]), events
        assert all("usage" not in e for e in s.chat(stream=True).events()[:-1])


@test
def completions_take_text_and_tokens():
    with Server(FAKE) as s:
        text = s.complete("ab", max_tokens=5)
        equal(text.json()["object"], "text_completion")
        equal(text.json()["id"], "cmpl-" + text.headers["x-request-id"])
        equal(text.finish(), "length")
        equal(text.json()["usage"]["completion_tokens"], 5)
        equal(s.complete("ab", max_tokens=5, stream=True).text(), text.text())
        equal(s.complete(["ab"], max_tokens=5).text(), text.text())
        tokens = [256, 97, 98, 259]  # what the fake makes of "ab"
        equal(s.complete(tokens, max_tokens=5).text(), text.text())
        equal(s.complete([tokens], max_tokens=5).text(), text.text())


@test
def content_may_come_in_parts_and_roles_by_their_new_names():
    with Server(FAKE) as s:
        def chat(messages):
            return s.ask("POST", "/v1/chat/completions", {"messages": messages, "temperature": 0}).text()
        equal(chat([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]),
              chat([{"role": "user", "content": "a\nb"}]))
        equal(chat([{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}]),
              chat([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]))


@test
def sampling_fields_reach_the_sampler():
    with Server("fake:len=40") as s:
        greedy = s.complete().text()
        seeds = [s.complete(temperature=1.5, seed=i).text() for i in (1, 1, 2, 3, -1)]
        equal(seeds[0], seeds[1])
        equal(len(set(seeds)), 4)
        free = {s.complete(temperature=1.5).text() for _ in range(4)}
        equal(len(free), 4, "without a seed every answer is its own")
        assert s.complete(logit_bias={"97": 100}, max_tokens=3).text() == "aaa"
        cut = s.complete(stop=greedy[10:13])
        equal((cut.text(), cut.finish()), (greedy[:10], "stop"))
        equal(s.complete(stop=["never there", greedy[10:13]], stream=True).text(), greedy[:10])
        equal(s.complete(max_completion_tokens=2, max_tokens=9).json()["usage"]["completion_tokens"], 2)


@test
def models_and_health_tell_what_is_served():
    with Server("fake:ctx_train=512", "--contexts", "2", "--sequences", "3") as s:
        models = s.ask("GET", "/v1/models").json()
        equal(models["object"], "list")
        model = models["data"][0]
        equal((model["id"], model["object"]), ("fake", "model"))
        equal((model["meta"]["contexts"], model["meta"]["sequences"], model["meta"]["exact"]), (2, 3, "yes"))
        assert model["meta"]["context"] >= 512
        for name in ("fake", "baton", "fake:ctx_train=512", "fake%3actx_train%3D512"):
            equal(s.ask("GET", "/v1/models/" + name).json(), model)
        equal(s.ask("GET", "/v1/models/gpt").error()["code"], "model_not_found")
        h = s.health()
        equal((h["status"], h["running"], h["queued"], h["slots"]), ("ok", 0, 0, 6))
        for name in ("fake", "baton", "", None):
            equal(s.complete(model=name, max_tokens=1).status, 200)


@test
def unknown_paths_and_methods_are_refused_in_openais_shape():
    with Server(FAKE) as s:
        r = s.ask("GET", "/v1/nothing?here=1")
        equal(r.status, 404)
        equal(set(r.error()), {"message", "type", "param", "code"})
        r = s.ask("GET", "/v1/chat/completions")
        equal((r.status, r.headers["allow"]), (405, "POST, OPTIONS"))
        equal(s.ask("DELETE", "/v1/models").status, 405)
        equal(s.ask("OPTIONS", "/v1/models").headers["allow"], "GET, HEAD, OPTIONS")
        r = s.ask("HEAD", "/health")
        equal((r.status, r.body), (200, b""))
        assert int(r.headers["content-length"]) > 0


@test
def a_native_failure_is_an_error_and_never_a_finished_answer():
    with Server("fake:full_at=12", "--sequences", "1") as s:
        replies = [s.complete(max_tokens=1) for _ in range(12)]  # a decode each: one of them finds no room
        equal(sorted(r.status for r in replies), [200] * 11 + [500])
        error = next(r.error() for r in replies if r.status == 500)
        equal((error["type"], error["code"]), ("server_error", "failed"))
        s.until(running=0, completed=11, failed=1)
    with Server("fake:len=40,fail_at=20", "--sequences", "1") as s, Server("fake:len=40", "--sequences", "1") as well:
        equal(s.complete().text(), well.complete().text(), "a step that failed half way is run again")


@test
def a_run_timeout_is_told_apart():
    with Server("fake:len=1000000,step_us=2000", "--run-timeout", "100ms") as s:
        r = s.complete()
        equal((r.status, r.error()["code"]), (504, "run_timeout"))
        events = s.complete(stream=True).events()
        equal(events[-1]["error"]["code"], "run_timeout")
        assert len(events) > 1 and "[DONE]" not in events
        assert all(c["finish_reason"] is None for e in events[:-1] for c in e["choices"])
        s.until(running=0, timed_out=2)


@test
def curl_is_served():
    with Server(FAKE) as s:
        url = f"http{'s' if TLS else ''}://127.0.0.1:{s.port}"
        trust = ["--cacert", TLS.cert] if TLS else []
        body = json.dumps({"prompt": "ab", "temperature": 0})
        def curl(*arguments):
            return subprocess.run(["curl", "-sS", *trust, *arguments], capture_output=True, text=True, check=True).stdout
        expected = s.complete("ab").text()
        equal(json.loads(curl(url + "/v1/completions", "-d", body))["choices"][0]["text"], expected)
        equal(json.loads(curl("--http1.0", url + "/v1/completions", "-d", body))["choices"][0]["text"], expected)
        equal(json.loads(curl("--http2", url + "/v1/completions", "-d", body))["choices"][0]["text"], expected)
        streamed = curl("-N", url + "/v1/completions", "-d", json.dumps({"prompt": "ab", "stream": True}))
        assert streamed.endswith("data: [DONE]\n\n"), streamed
        old = curl("--http1.0", "-N", url + "/v1/completions", "-d", json.dumps({"prompt": "ab", "stream": True}))
        assert old.endswith("data: [DONE]\n\n"), old
        big = json.dumps({"prompt": "x" * 3000000})  # large enough for Expect: 100-continue
        with tempfile.NamedTemporaryFile("w") as f:
            f.write(big)
            f.flush()
            equal(json.loads(curl(url + "/v1/completions", "--data-binary", "@" + f.name))["error"]["code"],
                  "context_length_exceeded")
            equal(json.loads(curl(url + "/v1/completions", "--data-binary", "@" + f.name, "-H",
                                  "Transfer-Encoding: chunked"))["error"]["code"], "context_length_exceeded")


@test
def stopping_lets_an_answer_end_and_a_second_signal_does_not_wait():
    with Server("fake:len=40,step_us=5000", "--drain", "1h") as s, s.connect() as c, s.connect() as idle:
        c.ask("POST", "/v1/completions", {"prompt": "x", "stream": True})
        c.until(b"data: ")
        s.process.send_signal(signal.SIGINT)
        assert idle.closed()
        c.until(b"data: [DONE]")
        equal(s.process.wait(BOUND), 0)
    with Server("fake:len=100000,step_us=5000,ctx_train=200000", "--drain", "1h") as s, s.connect() as c:
        c.ask("POST", "/v1/completions", {"prompt": "x", "stream": True})
        c.until(b"data: ")
        s.process.send_signal(signal.SIGTERM)
        poll(lambda: "SIGTERM" in s.said(), "the first signal's line")
        s.process.send_signal(signal.SIGTERM)
        equal(s.process.wait(BOUND), 0)
    with Server("fake:len=100000,step_us=5000,ctx_train=200000", "--drain", "50ms") as s, s.connect() as c:
        c.ask("POST", "/v1/completions", {"prompt": "x", "stream": True})
        c.until(b"data: ")
        s.process.send_signal(signal.SIGTERM)
        assert '"cancelled"' in c.until(b"0\r\n\r\n").decode()
        equal(s.process.wait(BOUND), 0)


@test
def bad_command_lines_say_what_was_expected():
    def serve(*arguments):
        r = subprocess.run([PROGRAM, "serve", *arguments], capture_output=True, text=True, timeout=BOUND)
        return r.returncode, r.stderr + r.stdout
    for arguments, text in [
        (["--port", "70000"], '--port is "70000": expected a whole number from 0 to 65535'),
        (["--queue-timeout=5"], "--queue-timeout is \"5\": expected a time"),
        (["--when-full", "maybe"], "expected one of wait|refuse"),
        (["--when-full"], "--when-full needs a value: wait|refuse"),
        (["--colour"], "there is no option --colour"),
        (["here"], '"here" is one argument too many'),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid"),
        (["-m", "/no/such.gguf"], "/no/such.gguf"),
        (["--api-key-file", "/no/such/file"], "/no/such/file"),
        (["--api-key-file", "/dev/null"], "there is no key in it"),
        (["--gpu-layers", "-2"], "expected a whole number from -1"),
        (["--idle-timeout", "never"], "--idle-timeout is \"never\": expected a time from 10ms to 24h"),
        (["--body-max", "1T"], "--body-max is \"1T\": expected a size from 1024"),
        (["--body-max", "32M"], "--body-max is \"32M\""),
    ]:
        code, said = serve(*arguments)
        equal(code, 2, said)
        assert text in said, said
    code, said = serve("--help")
    equal(code, 0)
    assert "--sequences N" in said and "--exact on|off|auto" in said


main()
