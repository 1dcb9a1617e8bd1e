"""Wearables in: files of watches become Observations with SampledData, one for each series and day.

`layouts` reads the files, `readings` is what they hold, `daily` makes an Observation of a window of a series and
joins it with what is there, `keeping` writes.
"""
