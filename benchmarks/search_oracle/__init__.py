"""A search oracle: random resources, random searches, and what they must find, worked out over the JSON alone.

Nothing here knows the server's index, its parser or its tables: values are read out of the resources for every
question, dates are datetimes, numbers are fractions, references are followed in a dictionary.
"""
