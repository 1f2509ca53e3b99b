"""Tasks of kind "transcribe" on libwhisper and a random-weight model: what the C API says (examples/transcribe.c) is what
a task is answered."""
from parent import *
from sounds import *

MODEL = os.path.join(os.environ.get("BATON_WHISPER_MODELS", ""), "whisper.bin")
EXAMPLE = os.path.join(BUILD, "bin", "example_transcribe")


def needs(*files):
    for file in files:
        if not os.path.exists(file):
            raise Skip(f"{file} is not built")


def milliseconds(time):
    minutes, seconds = time.split(":")
    return int(minutes) * 60000 + round(float(seconds) * 1000)


def by_the_example(samples, language):
    """[(start, end, text)] of a process that does nothing else."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        file.write(wav(samples))
        file.flush()
        done = subprocess.run([EXAMPLE, MODEL, file.name, language], capture_output=True, timeout=BOUND, check=True)
    lines = [line.partition("] ") for line in done.stdout.decode().splitlines()]
    times = [[milliseconds(t) for t in head[1:].split(" --> ")] for head, _, _ in lines]
    return [(t[0], t[1], text) for t, (_, _, text) in zip(times, lines)]


@test
def probe_P50_a_task_hears_what_the_c_api_hears():
    needs(MODEL, EXAMPLE)
    sounds = [sound(6, pitch) for pitch in (330, 470)]
    expected = [by_the_example(s, "en") for s in sounds]
    assert len({str(e) for e in expected}) == len(expected) and max(len(e) for e in expected) > 1, expected
    for options in (["--workers", "2", "--contexts", "2"], ["--owner", "thread"]):
        with Parent("-m", MODEL, "--kind", "speech", "--threads", "1", *options) as p:
            for i, s in enumerate(sounds):
                p.send(f"t{i}", transcribe(wav(s), language="en", response_format="verbose_json"))
            for i, segments in enumerate(expected):
                result = p.take(f"t{i}").result
                equal([(round(s["start"] * 1000), round(s["end"] * 1000), s["text"]) for s in result["segments"]],
                      segments, options)
                equal(result["text"], "".join(text for _, _, text in segments))
                equal(result["language"], "en")


@test
def what_is_no_model_of_speech_is_told():
    needs(MODEL)
    p = Parent("-m", os.path.join(os.environ["BATON_MODEL_DIR"], "baton-tiny-q8_0.gguf"), "--kind", "speech",
               ready=False)
    equal(p.wait(), 1)
    equal([s["status"] for s in p.status], ["error"])


if __name__ == "__main__":
    main()
