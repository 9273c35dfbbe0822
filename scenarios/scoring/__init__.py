"""Scores and statistics: functions of records, without I/O."""
