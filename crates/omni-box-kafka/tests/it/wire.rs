//! Bytes that no Rust client would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Puts a message without key or value, and with one header, on partition 0.
pub(crate) async fn produce(broker: &str, topic: &str, header: &[u8], value: &[u8]) {
    let mut record = vec![0, 0, 0, 1, 1, 2]; // attributes, deltas of time and offset, null key, null value, one header
    for bytes in [header, value] {
        record.push(length(bytes));
        record.extend(bytes);
    }
    record.insert(0, length(&record));

    let mut batch = Vec::new();
    batch.extend(0_i16.to_be_bytes()); // attributes
    batch.extend(0_i32.to_be_bytes()); // last offset's delta
    batch.extend([1_700_000_000_000_i64.to_be_bytes(); 2].concat()); // first and last time
    batch.extend((-1_i64).to_be_bytes()); // producer, its epoch and sequence
    batch.extend((-1_i16).to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.extend(1_i32.to_be_bytes()); // records
    batch.extend(record);
    let mut checked = (-1_i32).to_be_bytes().to_vec(); // leader's epoch
    checked.push(2); // format
    checked.extend(crc32c(&batch).to_be_bytes());
    checked.extend(batch);
    let mut records = 0_i64.to_be_bytes().to_vec(); // first offset
    records.extend(size(&checked).to_be_bytes());
    records.extend(checked);

    let mut request = [0_i16, 3].map(i16::to_be_bytes).concat(); // produce, version 3
    request.extend(7_i32.to_be_bytes()); // correlation
    request.extend([-1_i16, -1, -1].map(i16::to_be_bytes).concat()); // no client id, no transaction, all acknowledge
    request.extend([30_000_i32, 1].map(i32::to_be_bytes).concat()); // milliseconds, topics
    request.extend((topic.len() as i16).to_be_bytes());
    request.extend(topic.as_bytes());
    request.extend([1_i32, 0].map(i32::to_be_bytes).concat()); // partitions, partition
    request.extend(size(&records).to_be_bytes());
    request.extend(records);

    let mut connection = TcpStream::connect(broker).await.unwrap();
    connection.write_i32(size(&request)).await.unwrap();
    connection.write_all(&request).await.unwrap();
    let mut response = vec![0; connection.read_i32().await.unwrap() as usize];
    connection.read_exact(&mut response).await.unwrap();
    // correlation, topics, name, partitions, partition; then the error
    let error = &response[4 + 4 + 2 + topic.len() + 4 + 4..][..2];
    assert_eq!(error, [0, 0], "kafka takes the message");
}

/// As a varint of the protocol, which takes one byte for what is short.
fn length(bytes: &[u8]) -> u8 {
    assert!(bytes.len() < 64);
    (bytes.len() << 1) as u8
}

fn size(bytes: &[u8]) -> i32 {
    bytes.len() as i32
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}
