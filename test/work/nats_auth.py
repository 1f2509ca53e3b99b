"""`baton work --nats` and `baton submit` where a NATS server wants to know who asks: user and password, token, credentials
in a file, TLS. The right ones work; of wrong ones the server and the file are told, and never what is secret."""
import nkeys
from natsd import *
from parent import *

TLS = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


def write(folder, name, text):
    with open(f"{folder}/{name}", "w") as f:
        f.write(text)
    return f.name


def certificate(folder, name="server", subject="IP:127.0.0.1"):
    tool("openssl")
    nkeys.openssl(*TLS, "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem", "-subj", f"/CN={name}", "-addext",
                  f"subjectAltName={subject}")
    return f"{folder}/{name}.pem", f"{folder}/{name}.key"


def is_refused(n, options, mentions, secrets=(), code=1):
    """By both ends, with a word why that has what is mentioned and nothing of what is secret."""
    w = n.worker("-m", MODEL, *options, ready=False)
    ends = [(w.process.wait(BOUND), w.said()), n.take(*options, *words_of(0))]
    for end in ends:
        equal(end[0], code, end)
        for mention in mentions:
            assert mention in end[-1], (mention, end)
        for secret in secrets:
            assert secret not in end[-1], (secret, end)


def works(n, options=(), secrets=()):
    w = n.worker("-m", MODEL, *options, "--log", "debug")
    code, out, err = n.take(*options, *words_of(0))
    equal(code, 0, err)
    with open(f"/proc/{w.process.pid}/task/{w.process.pid}/children") as f:
        (child,) = f.read().split()
    with open(f"/proc/{child}/cmdline") as f, open(f"/proc/{child}/environ") as g:
        handed_on = f.read() + g.read()
    for secret in secrets:
        assert secret not in w.said() + err + handed_on, (secret, w.said(), err, handed_on)
    w.terminate()
    equal(w.process.wait(BOUND), 0)


@test
def probe_P63_user_and_password():
    with Nats("--user", "bob", "--pass", "hunter2", user="bob:hunter2@") as n:
        where = f"127.0.0.1:{n.port}"
        works(n, secrets=("hunter2",))
        for user, secret in (("bob:hunter3@", "hunter3"), ("", "@"), ("eve:hunter4@", "hunter4"), ("hunter5@", "hunter5")):
            n.url = f"nats://{user}{where}"
            is_refused(n, (), (where, "Authorization Violation"), (secret,))


@test
def probe_P63_a_token():
    with Nats("--auth", "s3cret", user="s3cret@") as n:
        where = f"127.0.0.1:{n.port}"
        works(n, secrets=("s3cret",))
        n.url = f"nats://wr0ng@{where}"
        is_refused(n, (), (where, "Authorization Violation"), ("wr0ng",))
        n.url = f"nats://s3cret@127.0.0.1:1,nats://s3cret@{where}"
        works(n, secrets=("s3cret",))


@test
def probe_P63_credentials_in_a_file():
    tool("openssl")
    operator = nkeys.Operator()
    good, seed = operator.credentials()
    strange, other = nkeys.Operator().credentials()
    late, later = operator.credentials(**{"exp": 1})
    with tempfile.TemporaryDirectory() as d:
        with Nats("-c", write(d, "server.conf", operator.configuration())) as n:
            where = f"127.0.0.1:{n.port}"
            works(n, ("--nats-creds", write(d, "good.creds", good)), (seed, good.split("\n")[1]))
            is_refused(n, (), (where, "Authorization Violation"))
            for name, text, secret in (("strange", strange, other), ("mixed", good.replace(seed, other), other)):
                file = write(d, f"{name}.creds", text)
                is_refused(n, ("--nats-creds", file), (where, file, "Authorization Violation"), (secret,))
            for name, text in (("empty", ""), ("no-seed", good.split("\n\n")[0]), ("garbage", f"SU{seed} and so on\n"),
                               ("seed-cut", good.replace(seed, seed[:-9]))):
                file = write(d, f"{name}.creds", text)
                is_refused(n, ("--nats-creds", file), (file,), (seed[:-9],))
            is_refused(n, ("--nats-creds", f"{d}/none"), ("--nats-creds", f"{d}/none", "No such file"), code=2)


@test
def credentials_over_tls():
    operator = nkeys.Operator()
    good, seed = operator.credentials()
    with tempfile.TemporaryDirectory() as d:
        cert, key = certificate(d)
        elsewhere, its_key = certificate(d, "elsewhere", "IP:127.0.0.9")
        own, own_key = certificate(d, "client")
        creds = ("--nats-creds", write(d, "good.creds", good))
        conf = write(d, "server.conf", operator.configuration() + f'tls {{ cert_file: "{cert}", key_file: "{key}" }}\n')
        with Nats("-c", conf) as n:
            where = f"127.0.0.1:{n.port}"
            works(n, (*creds, "--nats-ca", cert), (seed,))
            is_refused(n, creds, (where, "certificate"), (seed,))
            is_refused(n, (*creds, "--nats-ca", elsewhere), (where, "certificate"), (seed,))
            is_refused(n, ("--nats-ca", cert), (where, "Authorization Violation"))
            is_refused(n, (*creds, "--nats-ca", f"{d}/none"), ("--nats-ca", f"{d}/none"), code=2)
            is_refused(n, (*creds, "--nats-ca", creds[1]), (creds[1],), (seed,), code=2)
            is_refused(n, ("--nats-cert", own), ("--nats-key is missing",), code=2)
            is_refused(n, ("--nats-key", own_key), ("--nats-cert is missing",), code=2)
            is_refused(n, ("--nats-cert", own, "--nats-key", key), (key,), code=2)
        conf = write(d, "both.conf", operator.configuration() + f'tls {{ cert_file: "{cert}", key_file: "{key}", '
                     f'ca_file: "{own}", verify: true }}\n')
        with Nats("-c", conf) as n:
            works(n, (*creds, "--nats-ca", cert, "--nats-cert", own, "--nats-key", own_key), (seed,))
            is_refused(n, (*creds, "--nats-ca", cert), (f"127.0.0.1:{n.port}",), (seed,))
        conf = write(d, "elsewhere.conf", operator.configuration() + f'tls {{ cert_file: "{elsewhere}", '
                     f'key_file: "{its_key}" }}\n')
        with Nats("-c", conf) as n:
            is_refused(n, (*creds, "--nats-ca", elsewhere), (f"127.0.0.1:{n.port}", "mismatch"), (seed,))


@test
def a_user_who_may_not_use_the_queue():
    tool("openssl")
    operator = nkeys.Operator()
    narrow, _ = operator.credentials(pub={"deny": ["$JS.API.>"]})
    with tempfile.TemporaryDirectory() as d:
        with Nats("-c", write(d, "server.conf", operator.configuration())) as n:
            is_refused(n, ("--nats-creds", write(d, "narrow.creds", narrow)), ("may this user use it",))


@test
def probe_P63_what_is_asked_wrongly_is_told_without_its_secrets():
    urls = {2: ("nats://bob:hunter2@h:port", f"nats://bob:hunter2@h/{'x' * 3000}", ",",
                ",".join(["nats://bob:hunter2@h"] * 17), "nats://bob:hunter2,x@127.0.0.1:1"),
            1: ("nats://bob:h@unter2/x@127.0.0.1:1", "nats://bob,unter2@127.0.0.1:1", "bob:hunter2@127.0.0.1:1",
                "nats://127.0.0.1:1,nats://bob:hunter2@127.0.0.1:1")}
    cases = [(2, "--nat=nats://bob:hunter2@h"), (2, "nats://bob:hunter2@h"), (2, "nats://bob:h@unter2/x@h")]
    cases += [(code, f"--nats={url}") for code in urls for url in urls[code]]
    for code, word in cases:
        for command in (["work", "-m", MODEL, word], ["submit", word, "y", *([] if word[0] == "-" else ["z"])]):
            done = subprocess.run([PROGRAM, *command], capture_output=True, text=True, timeout=BOUND)
            equal((done.returncode, done.stdout), (code, ""), (command, done.stderr))
            assert "unter2" not in done.stderr and f"baton {command[0]}: " in done.stderr, done.stderr
            assert code == 2 or "127.0.0.1:1 " in done.stderr, done.stderr


@test
def a_worker_that_is_let_in_no_more_ends():
    with Nats("--user", "bob", "--pass", "hunter2", user="bob:hunter2@") as n:
        w = n.worker("-m", MODEL)
        n.restart("--user", "bob", "--pass", "another")
        equal(w.process.wait(BOUND), 1)
        said = w.said()
        assert "lost" in said and "Authorization Violation" in said and "hunter2" not in said, said


@test
def a_worker_waits_for_a_server_that_is_away():
    with Nats() as n:
        w = n.worker("-m", MODEL)
        n.restart()
        poll(lambda: "is back" in w.said(), "the server's return")
        equal(n.take(*words_of(0))[0], 0)
        equal(w.process.poll(), None)


if __name__ == "__main__":
    main()
