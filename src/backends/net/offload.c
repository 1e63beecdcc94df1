/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What network cards do, in software.
 *
 * The headers of a frame are copied, checked, and changed in the copy from one segment to the next;
 * each segment is that copy and a stretch of the payload where it lies.
 *
 * The sender has left the sum of the pseudo header in the checksum field.  A segment's differs by
 * the length, so that addresses need not be looked at, nor where a routing header hides the last.
 */
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/random.h>

#include "backends/net/csum.h"
#include "backends/net/headers.h"

#define TCP_FIN       0x01
#define TCP_PSH       0x08
#define TCP_URG_VALID 0x20
#define TCP_CWR       0x80

#define IP4_OPT_END    0
#define IP4_OPT_NOP    1
#define IP4_OPT_COPIED 0x80 /* RFC 791, 3.1: the option goes into each fragment */

struct job {
	unsigned int caps;
	int (*emit)(void *arg, const struct net_pkt *pkt);
	void *arg;
	struct net_hdr hdr;     /* of the frame */
	struct net_pkt payload; /* what has not been emitted yet; its pieces are in iov */
	struct net_headers hdrs;
	struct iovec iov[NET_PIECES_MAX];
};

/* What changes from segment to segment, as the frame has it. */
struct first {
	uint16_t ip_id;
	uint32_t seq;
	uint16_t urg;
	uint8_t tcp_flags;
	uint64_t pseudo; /* sum of the pseudo header but for the length */
};

/* All behind the first len bytes is payload. */
static int job_payload(struct job *job, const struct net_pkt *pkt, uint32_t len)
{
	struct net_pkt rest = *pkt;
	uint32_t num;

	net_pkt_skip(&rest, len);
	num = net_pkt_iov(&rest, job->iov, NET_PIECES_MAX);
	if (!num && rest.len)
		return -EINVAL;
	job->payload = (struct net_pkt){.iov = job->iov, .num = num, .len = rest.len};
	return 0;
}

/*
 * Replace the sum of the pseudo header by the checksum of all that follows csum_start: in head_len
 * bytes of headers and the next len bytes of payload, summed where they lie.  Both forms of zero
 * are right; the one that is all ones is so for UDP, too, where the other says that there is none.
 */
static void job_csum(struct job *job, uint32_t head_len, uint32_t len)
{
	uint8_t *start = job->hdrs.bytes + job->hdr.csum_start;
	const struct iovec *iov = job->payload.iov, *end = iov + job->payload.num;
	size_t off = job->payload.off;
	struct csum csum = {0};
	uint16_t sum;

	csum_add(&csum, start, head_len - job->hdr.csum_start);
	for (; len && iov < end; iov++, off = 0) {
		size_t part = iov->iov_len - off;

		if (part > len)
			part = len;
		csum_add(&csum, (const uint8_t *)iov->iov_base + off, part);
		len -= (uint32_t)part;
	}
	sum = csum_finish(csum.sum);
	if (!sum)
		sum = 0xffff;
	memcpy(start + job->hdr.csum_offset, &sum, sizeof(sum));
}

/*
 * Emit head_len bytes of headers and the next len bytes of payload.  csum: the checksum is still to
 * be computed, by us or by the receiver.
 */
static int job_emit(struct job *job, uint32_t head_len, uint32_t len, bool csum)
{
	struct net_pkt pkt = job->payload;
	int ret;

	pkt.head = job->hdrs.bytes;
	pkt.head_len = head_len;
	pkt.len = head_len + len;
	if (csum && job->caps & NET_CAP_CSUM) {
		pkt.hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		pkt.hdr.csum_start = job->hdr.csum_start;
		pkt.hdr.csum_offset = job->hdr.csum_offset;
	} else if (csum) {
		job_csum(job, head_len, len);
	}
	ret = job->emit(job->arg, &pkt);
	net_pkt_skip(&job->payload, len);
	return ret;
}

/* Have the IP header say that so many bytes follow the L2 headers. */
static void set_ip_len(struct net_headers *hdrs, uint32_t len)
{
	uint8_t *ip = hdrs->bytes + hdrs->l3;

	if (hdrs->ip6)
		put_be16(ip + IP6_LEN, len - IP6_HDR);
	else
		put_be16(ip + IP4_LEN, len);
}

/* The last change to an IP header. */
static void set_ip_csum(struct net_headers *hdrs)
{
	uint8_t *ip = hdrs->bytes + hdrs->l3;
	uint16_t sum;

	if (hdrs->ip6)
		return;
	put_be16(ip + IP4_CSUM, 0);
	sum = csum_finish(csum_bytes(ip, hdrs->frag - hdrs->l3));
	memcpy(ip + IP4_CSUM, &sum, sizeof(sum));
}

static void set_tcp(uint8_t *tcp, const struct first *first, uint32_t done, bool last)
{
	uint8_t flags = first->tcp_flags;

	if (done)
		flags &= (uint8_t)~TCP_CWR;
	if (!last)
		flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	/* The urgent pointer counts from this segment's number: behind it nothing is urgent. */
	if (flags & TCP_URG_VALID && first->urg > done)
		put_be16(tcp + TCP_URG, first->urg - done);
	else
		flags &= (uint8_t)~TCP_URG_VALID;
	tcp[TCP_FLAGS] = flags;
	put_be32(tcp + TCP_SEQ, first->seq + done);
}

static struct first job_first(const struct job *job)
{
	const struct net_headers *hdrs = &job->hdrs;
	const uint8_t *l4 = hdrs->bytes + hdrs->l4;
	uint32_t l4_len = hdrs->end - hdrs->l4 + job->payload.len;
	struct first first = {.ip_id = get_be16(hdrs->bytes + hdrs->l3 + IP4_ID)};
	uint16_t pseudo;

	if (hdrs->proto == IPPROTO_TCP) {
		first.seq = get_be32(l4 + TCP_SEQ);
		first.urg = get_be16(l4 + TCP_URG);
		first.tcp_flags = l4[TCP_FLAGS];
	}
	memcpy(&pseudo, l4 + job->hdr.csum_offset, sizeof(pseudo));
	/* Adding the complement is subtracting. */
	first.pseudo = (uint64_t)pseudo + htobe16((uint16_t)~l4_len);
	return first;
}

/* Make the headers those of the segment of len bytes that begins at `done` in the payload. */
static void set_segment(struct job *job, const struct first *first, uint32_t done, uint32_t len)
{
	struct net_headers *hdrs = &job->hdrs;
	uint8_t *l4 = hdrs->bytes + hdrs->l4;
	uint32_t l4_len = hdrs->end - hdrs->l4 + len;
	uint16_t pseudo = csum_fold(first->pseudo + htobe16((uint16_t)l4_len));

	set_ip_len(hdrs, hdrs->end - hdrs->l3 + len);
	if (!hdrs->ip6)
		put_be16(hdrs->bytes + hdrs->l3 + IP4_ID, first->ip_id + done / job->hdr.gso_size);
	set_ip_csum(hdrs);
	if (hdrs->proto == IPPROTO_TCP)
		set_tcp(l4, first, done, len == job->payload.len);
	else
		put_be16(l4 + UDP_LEN, l4_len);
	memcpy(l4 + job->hdr.csum_offset, &pseudo, sizeof(pseudo));
}

static int job_segments(struct job *job)
{
	const struct first first = job_first(job);
	uint32_t done = 0, len;
	int ret;

	if (job->payload.len > job->hdr.gso_size * NET_SEGMENTS_MAX)
		return -EINVAL;
	do {
		len = job->payload.len;
		if (len > job->hdr.gso_size)
			len = job->hdr.gso_size;
		set_segment(job, &first, done, len);
		ret = job_emit(job, job->hdrs.end, len, true);
		done += len;
	} while (!ret && job->payload.len);
	return ret;
}

/* Make no-ops of the IPv4 options that the first fragment alone has. */
static void drop_options(struct net_headers *hdrs)
{
	uint8_t *opt = hdrs->bytes + hdrs->l3 + IP4_HDR, *end = hdrs->bytes + hdrs->frag;

	while (opt < end && *opt != IP4_OPT_END) {
		uint8_t len = 1;

		if (*opt != IP4_OPT_NOP) {
			len = end - opt > 1 ? opt[1] : 0;
			if (len < 2 || len > end - opt)
				return;
			if (!(*opt & IP4_OPT_COPIED))
				memset(opt, IP4_OPT_NOP, len);
		}
		opt += len;
	}
}

/*
 * Insert a fragment header.  Its identification must not be used again for a while between the two
 * hosts, nor be guessed (RFC 7739).
 */
static int insert_fragment_header(struct net_headers *hdrs)
{
	uint8_t *at = hdrs->bytes + hdrs->frag, *next = hdrs->bytes + hdrs->frag_next;
	uint32_t id;

	if (getrandom(&id, sizeof(id), GRND_INSECURE) != sizeof(id))
		return -EOPNOTSUPP;
	memmove(at + IP6_FRAG_HDR, at, hdrs->end - hdrs->frag);
	memset(at, 0, IP6_FRAG_HDR);
	at[0] = *next;
	put_be32(at + 4, id);
	*next = IPPROTO_FRAGMENT;
	return 0;
}

/* `off` is a multiple of 8, where both IPs keep flags. */
static void set_fragment(struct net_headers *hdrs, uint32_t off, uint32_t len, bool more)
{
	if (hdrs->ip6) {
		put_be16(hdrs->bytes + hdrs->frag + 2, off | more);
		len += IP6_FRAG_HDR;
	} else {
		/* Who has it cut by others does not forbid to cut it: DF goes. */
		put_be16(hdrs->bytes + hdrs->l3 + IP4_FRAG, off / 8 | (more ? IP4_FRAG_MF : 0));
	}
	set_ip_len(hdrs, hdrs->frag - hdrs->l3 + len);
	set_ip_csum(hdrs);
}

/* gso_size counts what follows the IP header, and with it UDP's own in the first fragment. */
static int job_fragments(struct job *job)
{
	struct net_headers *hdrs = &job->hdrs;
	uint32_t lead = hdrs->end - hdrs->frag, head = hdrs->frag;
	uint32_t total = lead + job->payload.len, size = job->hdr.gso_size & ~7u, off, len;
	int ret = 0;

	if (total <= job->hdr.gso_size) {
		set_ip_len(hdrs, hdrs->frag - hdrs->l3 + total);
		set_ip_csum(hdrs);
		return job_emit(job, hdrs->end, job->payload.len, true);
	}
	if (size < lead || !size || total > size * NET_SEGMENTS_MAX)
		return -EINVAL;
	job_csum(job, hdrs->end, job->payload.len);
	if (hdrs->ip6) {
		ret = insert_fragment_header(hdrs);
		head += IP6_FRAG_HDR;
	}
	for (off = 0; !ret && off < total; off += len) {
		len = total - off < size ? total - off : size;
		set_fragment(hdrs, off, len, off + len < total);
		if (off) {
			ret = job_emit(job, head, len, false);
			continue;
		}
		ret = job_emit(job, head + lead, len - lead, false);
		if (!hdrs->ip6)
			drop_options(hdrs);
	}
	return ret;
}

/* Are the headers those of the kind of frame that hdr says? */
static bool job_matches(const struct job *job, uint32_t len)
{
	const struct net_headers *hdrs = &job->hdrs;

	/* IP could not count it. */
	if (len - hdrs->l3 > UINT16_MAX || job->hdr.csum_start != hdrs->l4)
		return false;
	switch (job->hdr.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return hdrs->proto == IPPROTO_TCP && !hdrs->ip6;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return hdrs->proto == IPPROTO_TCP && hdrs->ip6;
	default:
		return hdrs->proto == IPPROTO_UDP;
	}
}

static int job_cut(struct job *job, const struct net_pkt *pkt)
{
	int err = net_headers_parse(&job->hdrs, pkt);

	if (!err && !job_matches(job, pkt->len))
		err = -EINVAL;
	if (!err)
		err = job_payload(job, pkt, job->hdrs.end);
	if (err)
		return err;
	if (job->hdr.gso_type == VIRTIO_NET_HDR_GSO_UDP)
		return job_fragments(job);
	return job_segments(job);
}

/* Whatever is in the frame: the header says where the checksum is. */
static int job_csum_only(struct job *job, const struct net_pkt *pkt)
{
	uint32_t len = (uint32_t)job->hdr.csum_start + job->hdr.csum_offset + 2;
	int err;

	if (len > NET_HEADERS_MAX)
		return -EINVAL;
	net_pkt_peek(pkt, job->hdrs.bytes, len);
	err = job_payload(job, pkt, len);
	return err ? err : job_emit(job, len, job->payload.len, true);
}

int net_offload(const struct net_pkt *pkt, unsigned int caps,
		int (*emit)(void *arg, const struct net_pkt *pkt), void *arg)
{
	struct job job;

	if (!(net_hdr_caps(&pkt->hdr) & ~caps))
		return emit(arg, pkt);
	if (pkt->len > NET_FRAME_MAX || net_hdr_check(&pkt->hdr, pkt->len, NET_CAP_ALL))
		return -EINVAL;
	job.caps = caps;
	job.emit = emit;
	job.arg = arg;
	job.hdr = pkt->hdr;
	if (job.hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return job_csum_only(&job, pkt);
	return job_cut(&job, pkt);
}
