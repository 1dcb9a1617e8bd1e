"""The OHIF Viewer over our DICOMweb: how its published build is mounted below /viewer/, and how it is served."""
