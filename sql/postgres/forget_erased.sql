-- What no provider sends again.
DELETE FROM erased WHERE until < $1::text
