-- A page of the file as it is.
SELECT data FROM sqlite_dbpage WHERE pgno = ?1
