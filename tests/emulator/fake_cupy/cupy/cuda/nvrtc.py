"""Compiles nothing: what it gives names the file and the name expression, which the emulator compiles later."""

import json


class NVRTCError(RuntimeError):
    """What the compiler refuses."""


class _Program:
    """What was asked for, and the log."""

    def __init__(self, text, file):
        self.text, self.file, self.name, self.log = text, file, "", ""


def getVersion():  # noqa: N802
    """Return 13.0."""
    return 13, 0


def getSupportedArchs():  # noqa: N802
    """Return a few."""
    return 75, 80, 90, 100, 120


def createProgram(text, file, headers, names):  # noqa: N802
    """Return a program."""
    return _Program(text, file)


def destroyProgram(program):  # noqa: N802
    """Forget it."""


def addNameExpression(program, name):  # noqa: N802
    """Ask for a kernel."""
    program.name = name


def compileProgram(program, options):  # noqa: N802
    """Refuse kernels that the source has not."""
    if program.name.partition("<")[0] not in program.text:
        program.log = f'{program.file}(1): error: identifier "{program.name}" is undefined\n1 error detected'
        raise NVRTCError("NVRTC_ERROR_COMPILATION (6)")


def getProgramLog(program):  # noqa: N802
    """Return the log."""
    return program.log


def getLoweredName(program, name):  # noqa: N802
    """Return a name as a compiler would mangle it."""
    return "_Z" + name.encode().hex()


def getCUBIN(program):  # noqa: N802
    """Return what stands for machine code, less the zero at its end, which CuPy drops."""
    record = {"file": program.file, "name": program.name, "lowered": getLoweredName(program, program.name)}
    return json.dumps(record).encode()


getPTX = getCUBIN  # noqa: N816
