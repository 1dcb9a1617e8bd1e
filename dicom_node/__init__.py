"""DICOM in and out: C-STORE, decoding within a budget, results as SEG and SR, sending them back.

pydicom's warnings and highdicom's logs quote patients' data: they are silenced here, once, for every user of this
room (quiet.py). Importing this room imports neither.
"""

import logging

from dicom_node.quiet import quieten_pydicom

quieten_pydicom()
logging.getLogger("highdicom").setLevel(logging.ERROR)
