"""Words of libraries in C come last, once each."""

import subprocess
import sys

CODE = """
import os, sys
from glsim_mm.images.decoder_messages import errors_of_c_last
with errors_of_c_last():
    os.write(2, b'Corrupt JPEG data\\n')
    sys.stderr.write('reading\\n')
    os.write(2, b'Corrupt JPEG data\\nbad \\xff\\n')
os.write(2, b'after\\n')
try:
    with errors_of_c_last():
        raise KeyError
except KeyError:
    sys.stderr.write('end\\n')
"""


def test_what_c_says_is_told_in_the_end():
    printed = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True, check=True).stderr
    assert printed.splitlines() == ['reading', 'warning: Corrupt JPEG data, 2 times', 'warning: bad �', 'after', 'end']
