-- Nobody is kept who has no message any more.
DELETE FROM tally_senders WHERE n = 0
