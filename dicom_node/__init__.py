"""DICOM in and out: C-STORE, decoding within a budget, results as SEG and SR, sending them back.

pydicom's validation warnings and highdicom's logs quote what they look at: names, numbers and UIDs of
patients. They are silenced here, once, for every user of this room; our own checks say what is wrong.
"""

import logging

import pydicom.config

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
logging.getLogger("highdicom").setLevel(logging.ERROR)
