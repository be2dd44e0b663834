create table if not exists orders (
    id uuid primary key,
    customer text not null,
    number bigint not null,
    item text not null,
    unique (customer, number)
);
