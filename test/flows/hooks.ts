// Which hook answers a row? What XDP leaves to tc although it is sent, dropped or rejected at a NIC, and why.

/** By verdict. Everything else that is dropped or rejected at a NIC is XDP's. */
export const leftToTc: Readonly<Record<string, string>> = {
  REJECT_TTL_EXPIRED: 'XDP does not send a packet that is at its last hop: tc answers it',
  REJECT_TOO_BIG: 'XDP does not send what is too long for the way: tc knows segments, and answers it',
  FORWARD_REQUEST: 'the first reply moves the flow, and the request after it finds no way remembered; the bench requires the others of XDP',
  FORWARD_REPLY: 'the first finds no way remembered, and pods take no frames of XDP; the bench requires the others of XDP',
  REJECT_GONE_BACKEND: 'where the stack carries the flow',
  DROP_NO_ROUTE: 'without a way XDP leaves the packet to tc, which asks again',
};
