#!/usr/bin/env python3
"""Installs a build into an empty DESTDIR and uses it as a stranger would: a C and a C++ program by pkg-config, the same
by find_package, and the examples as they lie in the documentation folder; runs them on the installed model; looks for
the manual pages. Usage: install.py BUILD_DIR CC CXX   (run in the source tree's root)"""
import glob
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def run(*command, **env):
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env={**os.environ, **env})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def only(pattern):
    found = glob.glob(pattern, recursive=True)
    if len(found) != 1:
        sys.exit(f"{pattern}: {len(found)} files")
    return found[0]


def use_pkg_config(root, work, compilers, env):
    find = {"PKG_CONFIG_PATH": os.path.dirname(only(f"{root}/**/pkgconfig/baton.pc")), "PKG_CONFIG_SYSROOT_DIR": root}
    flags = run("pkg-config", "--cflags", "--libs", "baton", **find).split()
    said = set()
    for compiler, source in zip(compilers, ("ask.c", "ask.cc")):
        program = os.path.join(work, source.replace(".", "_") + "_pc")
        run(compiler, "-Wall", "-Werror", os.path.join(HERE, source), *flags, "-o", program)
        said.add(run(program, **env))
    return said


def use_cmake(root, work, compilers, env, source, programs):
    build = tempfile.mkdtemp(dir=work)
    prefix = os.path.dirname(os.path.dirname(only(f"{root}/**/bin/baton")))
    run("cmake", "-G", "Ninja", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_C_COMPILER={compilers[0]}", f"-DCMAKE_CXX_COMPILER={compilers[1]}")
    run("cmake", "--build", build, "-j", "2")
    return {run(only(f"{build}/**/{program}"), **env) for program in programs}


def main():
    build, *compilers = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as work:
        root = os.path.join(work, "root")
        run("cmake", "--install", build, DESTDIR=root)
        library = only(f"{root}/**/libbaton.so.0")
        env = {"LD_LIBRARY_PATH": os.path.dirname(library),
               "BATON_MODEL_DIR": os.path.dirname(only(f"{root}/**/baton-tiny-q8_0.gguf"))}
        said = use_pkg_config(root, work, compilers, env)
        said |= use_cmake(root, work, compilers, env, HERE, ("ask_c", "ask_cc"))
        if len(said) != 1 or len(said.pop()) < 8:
            sys.exit("the programs do not all say the same")
        examples = os.path.dirname(only(f"{root}/**/refuse.c"))
        stories = use_cmake(root, work, compilers, env, examples, ("example_refuse", "example_batch"))
        if len(stories) != 1:
            sys.exit("the examples do not say the same")
        # The command lies beside its model, and needs no variable to find it.
        if "--port" not in run(only(f"{root}/**/bin/baton"), "serve", "--help"):
            sys.exit("the installed command does not help")
        owner = only(f"{root}/**/libexec/baton/baton-owner")
        answer = run(only(f"{root}/**/bin/baton"), "ask", "--owner", "process", "--max-tokens", "8", "hello",
                     BATON_OWNER="", BATON_MODEL_DIR="")
        os.rename(owner, owner + ".away")
        lost = subprocess.run([only(f"{root}/**/bin/baton"), "ask", "--owner", "process", "hello"],
                              capture_output=True, text=True, timeout=60)
        if not answer or lost.returncode != 2 or owner not in os.path.normpath(lost.stderr.replace("bin/../", "")):
            sys.exit(f"an owner process: {answer!r}, and without its program: {lost.returncode} {lost.stderr}")
        tree = run("find", root, "-name", "*.[13]")
        for page in ("baton.1", "baton.3", "baton_llama.3", "baton_stream.3", "baton_guard.3", "baton_pool.3"):
            if page not in tree:
                sys.exit(f"{page} was not installed")
        leaks = [line for line in run("readelf", "-d", library).splitlines() if "path" in line.lower() and "/build/" in line]
        if leaks:
            sys.exit(f"the installed library looks into the build folder: {leaks}")
    print("ok")


if __name__ == "__main__":
    main()
