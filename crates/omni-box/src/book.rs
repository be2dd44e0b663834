//! The chapters of the book, whose code is compiled and run as that of documentation.

macro_rules! chapters {
    ($($name:ident),*) => {
        $(
            #[doc = include_str!(concat!("../../../docs/", stringify!($name), ".md"))]
            mod $name {}
        )*
    };
}

chapters!(
    quickstart,
    events,
    outbox,
    inbox,
    steps,
    migrations,
    metrics,
    traces,
    troubleshooting,
    store,
    broker
);
