-- Rows that another program has written or changed while this one ran.
UPDATE messages SET ts_us = moment_us(ts), ts_ns = moment_ns(ts) WHERE ts_us IS NULL
