create table if not exists shipments (
    id uuid primary key,
    order_id uuid not null,
    customer text not null,
    number bigint not null,
    seq bigint generated always as identity
);
