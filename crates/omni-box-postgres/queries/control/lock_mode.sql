-- The delivery mode, which cannot change until the transaction ends.
select c.delivery_mode from {{omni_box_control}} c for share
