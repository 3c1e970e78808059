// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Which bytes does the C compiler make of the page's structs? Prints one line each: its name and the bytes. */
#include "../bpf/abi.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static addr4 ip4(const char *text)
{
	addr4 address;

	inet_pton(AF_INET, text, &address);
	return address;
}

static addr6 ip6(const char *text)
{
	addr6 address;

	inet_pton(AF_INET6, text, &address);
	return address;
}

static void print(const char *name, const void *at, size_t size)
{
	printf("%s ", name);
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)at)[i]);
	printf("\n");
}

#define PRINT(name, ...)                                                                                               \
	do {                                                                                                           \
		struct name value;                                                                                     \
		memset(&value, 0, sizeof(value));                                                                      \
		value = (struct name){ __VA_ARGS__ };                                                                  \
		print(#name, &value, sizeof(value));                                                                   \
	} while (0)

int main(void)
{
	PRINT(frontend_key4, .address = ip4("10.96.0.10"), .port = htons(53), .protocol = 17);
	PRINT(frontend_key6, .address = ip6("fd00:10:96::a"), .port = htons(53), .protocol = 17);
	PRINT(frontend, .id = 0x01020304, .flags = FRONTEND_LOCAL | FRONTEND_AFFINITY, .cluster = { 1, 2 }, .local = { 3, 4 },
	      .cluster_table = { 5, 6 }, .local_table = { 7, 8 }, .affinity_seconds = 10800, .check = 0xfffefdfc);
	PRINT(backend4, .address = ip4("10.244.1.2"), .port = htons(8080), .protocol = 6, .flags = BACKEND_LIVE | BACKEND_HOST,
	      .generation = 0xdeadbeef);
	PRINT(backend6, .address = ip6("2001:db8::1:2"), .port = htons(8080), .protocol = 6, .flags = BACKEND_SERVING,
	      .generation = 0xdeadbeef);
	PRINT(source_range_key4, .prefix_length = 56, .frontend = htonl(0x01020304), .address = ip4("192.0.2.0"));
	PRINT(source_range_key6, .prefix_length = 96, .frontend = htonl(0x01020304), .address = ip6("2001:db8::"));
	PRINT(device, .address6 = ip6("fe80::1"), .address4 = ip4("172.18.0.2"), .mtu = 1500, .mac = { 2, 0, 0xab, 0xcd, 0xef, 1 },
	      .flags = DEVICE_XDP);
	PRINT(flow_key4, .source = ip4("10.0.0.1"), .destination = ip4("10.96.0.1"), .source_port = htons(40000),
	      .destination_port = htons(443), .protocol = 6);
	PRINT(flow_key6, .source = ip6("::ffff:10.0.0.1"), .destination = ip6("fd00::1"), .source_port = htons(40000),
	      .destination_port = htons(443), .protocol = 6);
	PRINT(flow4, .source = ip4("10.0.0.1"), .destination = ip4("10.244.0.7"), .source_port = htons(40000),
	      .destination_port = htons(8443), .frontend = 1, .backend = 2, .generation = 3, .seen = 0xffffffff, .ifindex = 5,
	      .route_generation = 6, .resolved = 7, .next_hop = ip4("10.0.0.254"), .mtu = 1450, .flags = FLOW_REPLY | FLOW_RST,
	      .source_mac = { 1, 2, 3, 4, 5, 6 }, .destination_mac = { 7, 8, 9, 10, 11, 12 });
	PRINT(flow6, .source = ip6("fd00::1"), .destination = ip6("fd00:244::7"), .source_port = htons(40000),
	      .destination_port = htons(8443), .frontend = 1, .backend = 2, .generation = 3, .seen = 0xffffffff, .ifindex = 5,
	      .route_generation = 6, .resolved = 7, .next_hop = ip6("fe80::2"), .mtu = 1450, .flags = FLOW_REPLY | FLOW_RST,
	      .source_mac = { 1, 2, 3, 4, 5, 6 }, .destination_mac = { 7, 8, 9, 10, 11, 12 });
	PRINT(next_hop4, .check = 1, .backend = 2, .generation = 3, .entered = 4, .ifindex = 5, .route_generation = 6, .resolved = 7, .mtu = 1450,
	      .destination_mac = { 7, 8, 9, 10, 11, 12 }, .source_mac = { 1, 2, 3, 4, 5, 6 }, .address = ip4("10.0.0.254"),
	      .source = ip4("10.0.0.1"));
	PRINT(next_hop6, .check = 1, .backend = 2, .generation = 3, .entered = 4, .ifindex = 5, .route_generation = 6, .resolved = 7, .mtu = 1450,
	      .destination_mac = { 7, 8, 9, 10, 11, 12 }, .source_mac = { 1, 2, 3, 4, 5, 6 }, .address = ip6("fe80::2"),
	      .source = ip6("fd00::1"));
	PRINT(affinity_key, .frontend = 9, .kind = CLIENT_ADDRESS, .client = ip6("::ffff:192.0.2.7"));
	PRINT(affinity, .backend = 1, .generation = 2, .seen = 3);
	PRINT(service_count, .flows = 0x0102030405060708, .no_endpoints = 2, .no_local_backend = 3, .source_range = 4, .others = 5);
	PRINT(socket_key, .cookie = 0x0102030405060708, .address = ip6("::ffff:10.96.0.1"), .port = htons(443), .protocol = 17,
	      .direction = SOCKET_REPLY);
	PRINT(socket_flow, .address = ip6("2001:db8::2"), .port = htons(53), .frontend = 1, .backend = 2, .generation = 3, .seen = 4);
	PRINT(settings, .host_netns_cookie = 0x8070605040302010, .flags = SETTING_SOCKET_PODS, .jiffies_per_second = 250,
	      .tcp_syn_timeout = 1, .tcp_established_timeout = 2, .tcp_close_timeout = 3, .udp_timeout = 4, .udp_stream_timeout = 5, .next_hop_age = 6,
	      .route_generation = 6, .mark = 0x80000000, .snat_first = 20000, .snat_last = 65535, .service_count4 = 1,
	      .service_count6 = 1, .local_count4 = 0, .local_count6 = 0,
	      .service4 = { { ip4("10.96.0.0"), ip4("255.240.0.0") } },
	      .service6 = { { ip6("fd00:10:96::"), ip6("ffff:ffff:ffff::") } });
	return 0;
}
