"""The `openai` Python package as a client: what it expects of the API is what there is. It is taken from where Python
finds it, else installed into a virtual environment in the build folder; where neither can be, the test is skipped."""
import importlib.util

from client import *

SKIPPED = 77


def find_openai():
    if importlib.util.find_spec("openai"):
        return
    folder = os.path.join(os.environ.get("BATON_BUILD_DIR", tempfile.gettempdir()), "openai-venv")
    python = os.path.join(folder, "bin", "python")
    here = os.path.dirname(os.path.abspath(__file__))
    install = [python, "-m", "pip", "install", "-q", "--retries", "1", "--timeout", "20", "-r",
               os.path.join(here, "requirements.txt")]
    try:
        if os.environ.get("BATON_IN_VENV"):
            raise OSError("openai is not in the virtual environment")
        if not os.path.exists(python):
            subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=60)
        if subprocess.run([python, "-c", "import openai"], capture_output=True).returncode:
            subprocess.run(install, check=True, capture_output=True, timeout=180)
    except (OSError, subprocess.SubprocessError) as e:
        print(f"SKIPPED: the openai package is not installed and cannot be had here: {e}")
        sys.exit(SKIPPED)
    os.environ["BATON_IN_VENV"] = "1"
    os.execv(python, [python, *sys.argv])


find_openai()
import openai  # noqa: E402

MODEL = "fake:len=30,step_us=200" if SANITIZER == "thread" else None


def client(s):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key="none", max_retries=0, timeout=BOUND)


@test
def chats_and_streams_them():
    with Server(MODEL) as s, client(s) as api:
        ask = {"model": "baton", "messages": [{"role": "user", "content": "What is a lease?"}], "temperature": 0}
        whole = api.chat.completions.create(**ask)
        equal(whole.choices[0].finish_reason, "stop")
        equal(whole.choices[0].message.role, "assistant")
        equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens)
        chunks = list(api.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        equal(text, whole.choices[0].message.content)
        equal(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        plain = api.completions.create(model="baton", prompt="Once", max_tokens=5, temperature=0)
        equal(plain.choices[0].text,
              "".join(c.choices[0].text for c in
                      api.completions.create(model="baton", prompt="Once", max_tokens=5, temperature=0, stream=True)))


@test
def chooses_among_several_models():
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as f:
        f.write("[model small]\nfile = fake:len=3\n[model big]\nfile = fake:len=40\n[role deep]\nmodels = big, small\n")
        f.flush()
        with Server(None, "-c", f.name) as s, client(s) as api:
            equal([m.id for m in api.models.list().data], ["small", "big", "deep"])
            equal(api.models.retrieve("deep").id, "deep")
            for name, who in (("small", "small"), ("big", "big"), ("deep", "big")):
                ask = {"model": name, "messages": [{"role": "user", "content": "x"}]}
                equal(api.chat.completions.create(**ask).model, who)
                equal({c.model for c in api.chat.completions.create(**ask, stream=True)}, {who})
            try:
                api.completions.create(model="gpt-9", prompt="x")
                raise AssertionError("a model that is not there has answered")
            except openai.NotFoundError as e:
                assert "small, big and the roles deep" in e.message, e.message


@test
def lists_models():
    with Server(MODEL) as s, client(s) as api:
        models = api.models.list().data
        equal(len(models), 1)
        equal(api.models.retrieve(models[0].id).id, models[0].id)


@test
def errors_become_its_own_exceptions():
    with Server(MODEL) as s, client(s) as api:
        def refused(kind, **fields):
            try:
                api.chat.completions.create(**{"model": "baton", "messages": [{"role": "user", "content": "x"}], **fields})
            except kind as e:
                return e
            raise AssertionError(f"no {kind}")
        equal(refused(openai.BadRequestError, n=3).param, "n")
        equal(refused(openai.BadRequestError, temperature=9).code, "invalid_value")
        equal(refused(openai.NotFoundError, model="gpt-9").code, "model_not_found")
        equal(refused(openai.BadRequestError, messages=[{"role": "user", "content": "word " * 9000}]).code,
              "context_length_exceeded")
    with Server("fake:len=1000000,step_us=1000,ctx_train=2000000", "--sequences", "1", "--when-full", "refuse") as s:
        with client(s) as api, s.connect() as holder:
            holder.ask("POST", "/v1/completions", {"prompt": "x"})
            s.until(running=1)
            try:
                api.completions.create(model="baton", prompt="x")
                raise AssertionError("not refused")
            except openai.RateLimitError as e:
                equal(e.code, "busy")


@test
def a_cut_stream_is_an_exception():
    with Server("fake:len=1000000,step_us=1000,ctx_train=2000000", "--run-timeout", "200ms") as s, client(s) as api:
        pieces = 0
        try:
            for _ in api.completions.create(model="baton", prompt="x", stream=True):
                pieces += 1
            raise AssertionError("it ended as if it were whole")
        except openai.APIError as e:
            assert "run timeout" in str(e), e
        assert pieces > 0


@test
def closing_a_stream_frees_the_slot():
    with Server("fake:len=1000000,step_us=1000,ctx_train=2000000", "--sequences", "1") as s, client(s) as api:
        for n in range(1, 4):
            with api.completions.create(model="baton", prompt="x", stream=True) as stream:
                next(iter(stream))
            s.until(running=0, cancelled=n)


main()
