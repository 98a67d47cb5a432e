-- An instant so many seconds from now, by the clock of the server, as messages have it.
SELECT to_char((statement_timestamp() + $1::bigint * interval '1 second') AT TIME ZONE 'UTC',
    'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
