"""Files that are whole or not there: writing, checksums, mirrors of runs, caches."""
