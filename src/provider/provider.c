/* SPDX-License-Identifier: BSD-2-Clause */
#include "provider/provider.h"

#include <stdlib.h>
#include <string.h>

#include "base/defs.h"

#define SOCKET_ENV "UVDPA_CRYPTO_SOCKET"

#define ROWS_MAX 32u

/* Append the rows whose algorithm the device has. */
static void choose(OSSL_ALGORITHM *to, const struct provided *all, uint64_t mask)
{
	size_t num = 0;

	while (to[num].algorithm_names)
		num++;
	for (; all->algorithm.algorithm_names && num < ROWS_MAX; all++)
		if (mask >> all->bit & 1)
			to[num++] = all->algorithm;
}

static bool choose_all(struct provider *prov)
{
	const struct vdpa_crypto_info *info = vdpa_crypto_info(prov->crypto);

	prov->ciphers = calloc(ROWS_MAX + 1, sizeof(OSSL_ALGORITHM));
	prov->digests = calloc(ROWS_MAX + 1, sizeof(OSSL_ALGORITHM));
	prov->macs = calloc(ROWS_MAX + 1, sizeof(OSSL_ALGORITHM));
	if (!prov->ciphers || !prov->digests || !prov->macs)
		return false;
	choose(prov->ciphers, provided_ciphers, info->cipher);
	choose(prov->ciphers, provided_aeads, info->aead);
	choose(prov->digests, provided_digests, info->hash);
	choose(prov->macs, provided_macs, info->mac);
	return true;
}

static const OSSL_ALGORITHM *query(void *ctx, int operation, int *no_cache)
{
	struct provider *prov = ctx;

	*no_cache = 0;
	switch (operation) {
	case OSSL_OP_CIPHER:
		return prov->ciphers;
	case OSSL_OP_DIGEST:
		return prov->digests;
	case OSSL_OP_MAC:
		return prov->macs;
	default:
		return NULL;
	}
}

static void teardown(void *ctx)
{
	struct provider *prov = ctx;

	vdpa_crypto_close(prov->crypto);
	free(prov->ciphers);
	free(prov->digests);
	free(prov->macs);
	free(prov);
}

static const OSSL_PARAM *gettable_params(void *ctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_PROV_PARAM_NAME, OSSL_PARAM_UTF8_PTR, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_PROV_PARAM_VERSION, OSSL_PARAM_UTF8_PTR, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_PROV_PARAM_STATUS, OSSL_PARAM_INTEGER, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static int get_params(void *ctx, OSSL_PARAM params[])
{
	OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_NAME);

	if (p && !OSSL_PARAM_set_utf8_ptr(p, "uvdpa crypto device"))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_VERSION);
	if (p && !OSSL_PARAM_set_utf8_ptr(p, UVDPA_VERSION))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);
	return !p || OSSL_PARAM_set_int(p, 1);
}

static const OSSL_DISPATCH provider_table[] = {
	FN(OSSL_FUNC_PROVIDER_TEARDOWN, teardown),
	FN(OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, gettable_params),
	FN(OSSL_FUNC_PROVIDER_GET_PARAMS, get_params),
	FN(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query),
	{0, NULL},
};

/* ---- loading */

struct core {
	OSSL_FUNC_core_get_params_fn *get_params;
	OSSL_FUNC_core_new_error_fn *new_error;
	OSSL_FUNC_core_vset_error_fn *set_error;
};

static void complain(const struct core *core, const OSSL_CORE_HANDLE *handle, const char *fmt, ...)
{
	va_list args;

	if (!core->new_error || !core->set_error)
		return;
	va_start(args, fmt);
	core->new_error(handle);
	core->set_error(handle, 1, fmt, args);
	va_end(args);
}

static const char *socket_path(const struct core *core, const OSSL_CORE_HANDLE *handle)
{
	char *path = NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_ptr("socket", &path, 0),
		OSSL_PARAM_construct_end(),
	};

	if (core->get_params && core->get_params(handle, params) && path)
		return path;
	return secure_getenv(SOCKET_ENV);
}

static struct core read_core(const OSSL_DISPATCH *in)
{
	struct core core = {0};

	for (; in->function_id; in++) {
		if (in->function_id == OSSL_FUNC_CORE_GET_PARAMS)
			core.get_params = OSSL_FUNC_core_get_params(in);
		else if (in->function_id == OSSL_FUNC_CORE_NEW_ERROR)
			core.new_error = OSSL_FUNC_core_new_error(in);
		else if (in->function_id == OSSL_FUNC_CORE_VSET_ERROR)
			core.set_error = OSSL_FUNC_core_vset_error(in);
	}
	return core;
}

VDPA_API OSSL_provider_init_fn OSSL_provider_init;

int OSSL_provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
		       const OSSL_DISPATCH **out, void **provctx)
{
	struct core core = read_core(in);
	const char *path = socket_path(&core, handle);
	struct provider *prov;
	struct vdpa_extack ack = {0};
	int err;

	if (!path) {
		complain(&core, handle, "uvdpa: which crypto device? set %s", SOCKET_ENV);
		return 0;
	}
	prov = calloc(1, sizeof(*prov));
	if (!prov)
		return 0;
	err = vdpa_crypto_open(path, &prov->crypto, &ack);
	if (err)
		complain(&core, handle, "uvdpa: %s", vdpa_extack_text(&ack, err));
	if (err || !choose_all(prov)) {
		teardown(prov);
		return 0;
	}
	*provctx = prov;
	*out = provider_table;
	return 1;
}
