"""The tools that break things, and the judge, are themselves put to the test."""
