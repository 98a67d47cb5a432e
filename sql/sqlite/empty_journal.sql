-- What the counts have followed, or nobody follows.
DELETE FROM journal
