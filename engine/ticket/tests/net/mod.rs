//! go-livepeer's messages, as its `.proto` has them, for prost.

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TicketParams {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) recipient: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) face_value: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) win_prob: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) recipient_rand_hash: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) seed: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) expiration_block: Vec<u8>,
    #[prost(message, optional, tag = "7")]
    pub(crate) expiration_params: Option<TicketExpirationParams>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TicketExpirationParams {
    #[prost(int64, tag = "1")]
    pub(crate) creation_round: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) creation_round_block_hash: Vec<u8>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TicketSenderParams {
    #[prost(uint32, tag = "1")]
    pub(crate) sender_nonce: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) sig: Vec<u8>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PriceInfo {
    #[prost(int64, tag = "1")]
    pub(crate) price_per_unit: i64,
    #[prost(int64, tag = "2")]
    pub(crate) pixels_per_unit: i64,
}
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Payment {
    #[prost(message, optional, tag = "1")]
    pub(crate) ticket_params: Option<TicketParams>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) sender: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub(crate) expiration_params: Option<TicketExpirationParams>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) ticket_sender_params: Vec<TicketSenderParams>,
    #[prost(message, optional, tag = "5")]
    pub(crate) expected_price: Option<PriceInfo>,
}
