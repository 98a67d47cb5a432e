-- Whether the journal has an entry of a sender; its entries are few, and have no index.
SELECT EXISTS (SELECT 1 FROM journal WHERE from_msisdn = ?1)
