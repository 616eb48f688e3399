"""Formats that replace those Django has for English (FORMAT_MODULE_PATH)."""

DATETIME_FORMAT = SHORT_DATETIME_FORMAT = "Y-m-d H:i:s"
DATE_FORMAT = SHORT_DATE_FORMAT = "Y-m-d"
TIME_FORMAT = "H:i:s"
FIRST_DAY_OF_WEEK = 1
