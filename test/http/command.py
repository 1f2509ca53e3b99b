"""The command around the server: its descriptors, its output, its signals, and what it leaves behind."""
from client import *


def shell(line, **options):
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=BOUND * 4,
                          env={**os.environ, "B": PROGRAM}, **options)


@test
def what_cannot_be_written_is_a_failure_and_is_told():
    for line in ("$B ask -m fake:len=3 hi >/dev/full", "$B ask -m fake:len=3000 hi >/dev/full", "$B --help >/dev/full",
                 "$B serve --help >/dev/full", "$B --version >/dev/full", "$B ask -m fake:len=3 hi >&-"):
        r = shell(line)
        equal(r.returncode, 1, f"{line}: {r.stderr}")
        assert "stdout" in r.stderr, (line, r.stderr)


@test
def closed_descriptors_are_not_taken_for_sockets():
    r = shell("$B ask -m fake:len=3 hi <&- 2>&-")
    equal((r.returncode, r.stdout != ""), (0, True))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    p = subprocess.Popen(["bash", "-c", f'exec "{PROGRAM}" serve --port {port} -m fake: <&- >&- 2>&-'])

    def answered():
        try:
            return Client(port).ask("GET", "/health").reply().status == 200
        except ConnectionRefusedError:
            return False
    poll(answered, "an answer of a server that has no output")
    with Client(port) as c:
        equal(c.ask("POST", "/v1/completions", {"prompt": "x", "max_tokens": 2}).reply().status, 200)
    p.terminate()
    equal(p.wait(BOUND), 0, "the server's exit code")


@test
def a_server_survives_the_reader_of_its_log():
    r, w = os.pipe()
    p = subprocess.Popen([PROGRAM, "serve", "--port", "0", "-m", "fake:"], stdout=subprocess.PIPE, stderr=w, text=True)
    os.close(w)
    p.stdout.readline()
    os.close(r)
    p.terminate()  # which is logged
    equal(p.wait(BOUND), 0, "the server's exit code")
    p.stdout.close()


@test
def a_prompt_with_a_nul_is_refused_not_cut():
    r = subprocess.run([PROGRAM, "ask", "-m", "fake:len=3", "-"], input=b"first\0second", capture_output=True)
    equal((r.returncode, r.stdout), (2, b""))
    assert b"NUL" in r.stderr, r.stderr


main()
