-- What the migrations have made beside the table. Those of other programs are theirs; sqlite_… is made by SQLite.
SELECT name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND name NOT LIKE 'sqlite~_%' ESCAPE '~'
