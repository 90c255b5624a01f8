#!/usr/bin/env python3
"""Compiles cu/*.cu to ptx/*.ptx, which are checked in so that building Millstream needs no CUDA toolkit.

    python kernels/regenerate.py               write ptx/*.ptx
    python kernels/regenerate.py --check       compile in memory and say which checked-in file differs
    python kernels/regenerate.py --assemble    assemble every checked-in file for the cards we mean; print registers a kernel
    python kernels/regenerate.py --install     only see to .venv-cuda
    ... --no-install                           with any of the others: install nothing; exit with status 3 when a tool is missing

The compiler (NVRTC) and the assembler (ptxas) are two wheels from PyPI, pinned below. They are used from the Python that runs this
when they are installed there, else from .venv-cuda at the root of the repository, which is made when it is missing.

NVRTC 12.0 writes PTX ISA 8.0, which every driver from 525 on takes. The text depends on the sources, the options and the compiler
alone: no line information, no path, no date. The compiler's own heading is replaced by one that names the source.
"""

import argparse
import ctypes
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CU, PTX = HERE / "cu", HERE / "ptx"
VENV = HERE.parent / ".venv-cuda"

NVRTC = ("nvidia-cuda-nvrtc-cu12", "12.0.76")
NVCC = ("nvidia-cuda-nvcc-cu12", "12.9.86")

MISSING_STATUS = 3

# Turing is the oldest card we mean. Without contraction, so that a float is rounded where the Rust twin rounds it.
OPTIONS = ["--gpu-architecture=compute_75", "--fmad=false", "--std=c++17"]
# Turing (T4), Ampere (A10, RTX 30), Ada (L4, RTX 40), Hopper (H100, H200), Blackwell (B200).
CARDS = ["sm_75", "sm_86", "sm_89", "sm_90", "sm_100"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is checked in; write nothing")
    parser.add_argument("--assemble", action="store_true", help="assemble what is checked in for each card")
    parser.add_argument("--install", action="store_true", help="only see to .venv-cuda")
    parser.add_argument("--no-install", action="store_true", help="exit with status 3 when a tool is missing")
    arguments = parser.parse_args()
    if arguments.install:
        install()
        return
    if missing():
        go_on_in_venv(arguments.no_install)
    if arguments.check:
        check()
    if arguments.assemble:
        assemble()
    if not arguments.check and not arguments.assemble:
        write()


def go_on_in_venv(is_install_forbidden):
    """Runs this again in .venv-cuda, which has both wheels afterwards."""
    if is_install_forbidden:
        print(f"{sys.executable} lacks {' and '.join(missing())}", file=sys.stderr)
        sys.exit(MISSING_STATUS)
    if is_venv():
        sys.exit(f"{VENV} lacks {' and '.join(missing())} after they were installed")
    python = install()
    os.execv(python, [python, *sys.argv])


def install():
    """Makes .venv-cuda where it is missing, sees to both wheels, and returns its Python."""
    python = str(VENV / "bin" / "python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    wheels = [f"{name}=={version}" for name, version in (NVRTC, NVCC)]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run(pip + wheels, check=True)
    print(f"{VENV} has {' and '.join(wheels)}", flush=True)
    return python


def is_venv():
    return pathlib.Path(sys.prefix).resolve() == VENV.resolve()


def missing():
    """The wheels, as NAME==VERSION, that this Python lacks."""
    lacks = []
    for name, version in (NVRTC, NVCC):
        try:
            has = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            has = None
        if has != version:
            lacks.append(f"{name}=={version}")
    return lacks


def write():
    PTX.mkdir(exist_ok=True)
    for name, text in compile_all().items():
        (PTX / name).write_text(text)
        print(f"ptx/{name}: {len(text)} bytes")
    for name in strays():
        (PTX / name).unlink()
        print(f"ptx/{name}: removed, it has no source")


def check():
    differ = [f"ptx/{name}: no cu/ file of that name" for name in strays()]
    compiled = compile_all()
    for name, text in compiled.items():
        path = PTX / name
        if not path.exists():
            differ.append(f"ptx/{name}: missing")
        elif path.read_text() != text:
            differ.append(f"ptx/{name}: not what cu/{path.stem}.cu compiles to")
    if differ:
        sys.exit("\n".join(differ) + "\nrun `python kernels/regenerate.py` and commit what it writes")
    print(f"{len(compiled)} files are what their sources compile to")


def strays():
    sources = {source.stem for source in CU.glob("*.cu")}
    return sorted(path.name for path in PTX.glob("*.ptx") if path.stem not in sources)


def compile_all():
    """PTX by file name."""
    compiler = Compiler()
    return {f"{source.stem}.ptx": compiler.compile(source) for source in sorted(CU.glob("*.cu"))}


class Compiler:
    """NVRTC through its C interface."""

    def __init__(self):
        folder = wheel_file(NVRTC, "libnvrtc.so.12").parent
        # NVRTC opens its builtins by name and finds what is already loaded.
        for builtins in folder.glob("libnvrtc-builtins.so*"):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(folder / "libnvrtc.so.12"))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        self.headers = {path.name: path.read_bytes() for path in sorted(CU.glob("*.cuh"))}

    def compile(self, source):
        program = ctypes.c_void_p()
        self.call(
            "nvrtcCreateProgram",
            ctypes.byref(program),
            source.read_bytes(),
            source.name.encode(),
            ctypes.c_int(len(self.headers)),
            strings(self.headers.values()),
            strings(name.encode() for name in self.headers),
        )
        try:
            options = strings(option.encode() for option in OPTIONS)
            status = self.library.nvrtcCompileProgram(program, ctypes.c_int(len(OPTIONS)), options)
            log = self.text("nvrtcGetProgramLog", program)
            if status != 0 or log.strip():
                sys.exit(f"cu/{source.name}: {self.error(status)}\n{log}")
            return heading(source) + body(self.text("nvrtcGetPTX", program))
        finally:
            self.call("nvrtcDestroyProgram", ctypes.byref(program))

    def text(self, function, program):
        size = ctypes.c_size_t()
        self.call(f"{function}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(function, program, buffer)
        return buffer.value.decode()

    def call(self, function, *arguments):
        status = getattr(self.library, function)(*arguments)
        if status != 0:
            sys.exit(f"{function}: {self.error(status)}")

    def error(self, status):
        return self.library.nvrtcGetErrorString(status).decode()


def strings(values):
    values = list(values)
    return (ctypes.c_char_p * len(values))(*values)


def heading(source):
    return f"// cu/{source.name} by NVRTC {NVRTC[1]} {' '.join(OPTIONS)}; made by regenerate.py\n"


def body(ptx):
    """PTX without the comment at its head, which names the compiler's build, and without the constants of a header of NVRTC's own
    (nv/target) that nothing reads."""
    lines = [line for line in ptx.splitlines() if not (line.startswith(".global") and "2nv6target" in line)]
    while lines and (not lines[0].strip() or lines[0].startswith("//")):
        lines.pop(0)
    return "\n".join(line.rstrip() for line in lines).strip() + "\n"


def assemble():
    ptxas = wheel_file(NVCC, "ptxas")
    ptxas.chmod(ptxas.stat().st_mode | 0o111)
    files = sorted(PTX.glob("*.ptx"))
    if not files:
        sys.exit("ptx/ is empty; run `python kernels/regenerate.py`")
    faults = []
    print("registers".ljust(18) + "".join(card.rjust(8) for card in CARDS))
    with tempfile.TemporaryDirectory() as folder:
        for path in files:
            registers = []
            for card in CARDS:
                command = [str(ptxas), f"-arch={card}", "-v", "-o", f"{folder}/out.cubin", str(path)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=120)
                said = done.stdout + done.stderr
                used = re.search(r"Used (\d+) registers", said)
                memory = [int(count) for count in re.findall(r"(\d+) bytes (?:stack frame|spill)", said)]
                registers.append(used.group(1) if used else "-")
                if done.returncode != 0 or not used or not memory:
                    faults.append(f"{path.name} for {card}: {said.strip()}")
                elif any(memory):
                    faults.append(f"{path.name} for {card}: it has a stack frame or spills\n{said.strip()}")
            print(path.stem.ljust(18) + "".join(count.rjust(8) for count in registers))
    if faults:
        sys.exit("\n".join(faults))


def wheel_file(wheel, name):
    """The file of this name that a wheel installed."""
    for file in importlib.metadata.files(wheel[0]) or []:
        if file.name == name:
            return pathlib.Path(file.locate())
    sys.exit(f"{wheel[0]} {wheel[1]} has no {name}")


if __name__ == "__main__":
    main()
