-- What decides what a commit promises.
SELECT current_setting('server_encoding'), current_setting('fsync'), current_setting('full_page_writes'),
    current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), current_setting('server_version'),
    pg_is_in_recovery()
