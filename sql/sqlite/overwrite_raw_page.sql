-- Only with bytes that mean the same to SQLite (src/store/sqlite/maintenance/scrub.rs).
UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1
