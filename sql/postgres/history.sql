-- How many messages there are in each bucket of a width that has any, out of the index alone.
SELECT (ts_us - $1::bigint) / $3::bigint, count(*) FROM messages WHERE ts_us >= $1 AND ts_us < $2::bigint GROUP BY 1
