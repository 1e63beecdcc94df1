/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring that brings frames from one thread to another. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "backends/net/frames.h"
#include "fail_alloc.h"

#define SIZE 1024u

static bool put(struct frames *frames, uint32_t len, uint8_t value)
{
	void *room = frames_room(frames, len);

	assert_non_null(room);
	memset(room, value, len);
	return frames_put(frames);
}

static void take(struct frames *frames, uint32_t len, uint8_t value)
{
	uint32_t got;
	const uint8_t *frame = frames_first(frames, &got);

	assert_non_null(frame);
	assert_int_equal(got, len);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(frame[i], value);
	frames_drop_first(frames);
}

static void test_net_frames_come_in_order(void **state)
{
	struct frames *frames = frames_alloc(SIZE);
	uint32_t len;

	assert_non_null(frames);
	assert_null(frames_first(frames, &len));
	assert_true(put(frames, 1, 1));
	assert_false(put(frames, 500, 2));
	assert_false(put(frames, 0, 3));
	take(frames, 1, 1);
	assert_false(put(frames, 100, 4));
	take(frames, 500, 2);
	take(frames, 0, 3);
	take(frames, 100, 4);
	assert_null(frames_first(frames, &len));
	assert_int_equal(frames_used(frames), 0);
	/* Who has taken everything may be asleep. */
	assert_true(put(frames, 1, 5));
	frames_free(frames);
}

static void test_net_frames_room_counts_when_put(void **state)
{
	struct frames *frames = frames_alloc(SIZE);
	uint32_t len;

	assert_non_null(frames_room(frames, 100));
	assert_null(frames_first(frames, &len));
	assert_int_equal(frames_used(frames), 0);
	assert_non_null(frames_room(frames, 10));
	frames_put(frames);
	assert_non_null(frames_first(frames, &len));
	assert_int_equal(len, 10);
	frames_free(frames);
}

static void test_net_frames_are_refused_without_room(void **state)
{
	struct frames *frames = frames_alloc(SIZE);

	assert_null(frames_room(frames, SIZE / 2 + 1));
	assert_null(frames_room(frames, UINT32_MAX));
	for (unsigned int i = 0; i < SIZE / 64; i++)
		put(frames, 60, (uint8_t)i);
	assert_int_equal(frames_used(frames), SIZE);
	assert_null(frames_room(frames, 0));
	take(frames, 60, 0);
	assert_null(frames_room(frames, 61));
	put(frames, 60, 99);
	for (unsigned int i = 1; i < SIZE / 64; i++)
		take(frames, 60, (uint8_t)i);
	take(frames, 60, 99);
	frames_free(frames);
}

static void test_net_frames_begin_again_in_front(void **state)
{
	struct frames *frames = frames_alloc(SIZE);

	/* 208 bytes are left at the end, 512 in front. */
	put(frames, 508, 1);
	take(frames, 508, 1);
	put(frames, 300, 2);
	assert_null(frames_room(frames, 510));
	assert_non_null(frames_room(frames, 500));
	put(frames, 400, 3);
	take(frames, 300, 2);
	put(frames, 200, 4);
	take(frames, 400, 3);
	take(frames, 200, 4);
	for (uint32_t i = 0; i < 1000; i++) {
		put(frames, i % 400, (uint8_t)i);
		take(frames, i % 400, (uint8_t)i);
	}
	frames_free(frames);
}

/* ---- two threads that sleep when there is nothing, and nothing else wakes them */

#define NUM 200000u

struct pair {
	struct frames *frames;
	int event, room;
};

static void *put_all(void *arg)
{
	struct pair *pair = arg;
	uint32_t *room;
	eventfd_t count;

	for (uint32_t i = 0; i < NUM;) {
		uint32_t len = sizeof(i) + i % 300;

		room = frames_room(pair->frames, len);
		if (!room) {
			assert_int_equal(eventfd_read(pair->room, &count), 0);
			continue;
		}
		*room = i++;
		if (frames_put(pair->frames))
			assert_int_equal(eventfd_write(pair->event, 1), 0);
	}
	return NULL;
}

static void test_net_frames_wake_who_sleeps(void **state)
{
	struct pair pair = {frames_alloc(SIZE), eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
	pthread_t thread;
	eventfd_t count;
	uint32_t len;

	assert_int_equal(pthread_create(&thread, NULL, put_all, &pair), 0);
	for (uint32_t i = 0; i < NUM;) {
		const uint32_t *frame = frames_first(pair.frames, &len);

		if (!frame) {
			assert_int_equal(eventfd_read(pair.event, &count), 0);
			continue;
		}
		assert_int_equal(*frame, i);
		assert_int_equal(len, sizeof(i) + i % 300);
		frames_drop_first(pair.frames);
		assert_int_equal(eventfd_write(pair.room, 1), 0);
		i++;
	}
	pthread_join(thread, NULL);
	close(pair.event);
	close(pair.room);
	frames_free(pair.frames);
}

static void test_net_frames_survive_failing_allocations(void **state)
{
	struct frames *frames;

	for (unsigned int n = 1;; n++) {
		fail_alloc_nth(n);
		frames = frames_alloc(SIZE);
		if (!fail_alloc_done())
			break;
		assert_null(frames);
	}
	assert_non_null(frames);
	frames_free(frames);
	frames_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_net_frames_come_in_order),
		cmocka_unit_test(test_net_frames_room_counts_when_put),
		cmocka_unit_test(test_net_frames_are_refused_without_room),
		cmocka_unit_test(test_net_frames_begin_again_in_front),
		cmocka_unit_test(test_net_frames_wake_who_sleeps),
		cmocka_unit_test(test_net_frames_survive_failing_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
