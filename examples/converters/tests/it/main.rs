//! The example as a user runs it.

use omni_box_harness::example::prints;

const OUTPUT: &str = "\
orders.avro     00 00 00 00 07 02 08 6c 61 6d 70
                order 1: lamp
orders.protobuf 00 00 00 00 08 00 08 02 12 04 6c 61 6d 70
                order 2: lamp
cannot be read:
  JSON              the value does not begin with the zero byte of a schema registry's header
  an unknown schema the registry has no schema 9
  a part of it      the value is not Avro of schema 7
  three bytes       the value has 3 bytes, too few for the header of a schema registry
  Avro              schema 7 is not that of an order
  no registry       payload is not valid JSON: expected value at line 1 column 1
";

#[test]
fn orders_are_the_same_by_avro_and_protobuf_and_what_cannot_be_read_says_why() {
    prints(env!("CARGO_BIN_EXE_converters"), &[], OUTPUT);
}
