-- A sender is not kept without a message.
DELETE FROM tally_senders WHERE n = 0
