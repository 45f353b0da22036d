/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PERSIST_CRC32C_H
#define WEIR_PERSIST_CRC32C_H

/*
 * crc32c.h: the checksum of the log: CRC-32C (Castagnoli; polynomial 0x1edc6f41, bits reflected, register begins and
 * ends inverted), as iSCSI (RFC 3720 appendix B.4) has it. Pure; any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* crc32c: of p[n] behind what gave `crc` (0: nothing): crc32c(crc32c(0, a), b) is that of a · b. Uses the machine's
 * instruction where there is one. p may be NULL when n is 0. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/* crc32c_portable: the same by tables, on any machine; for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n);

/* crc32c_has_instruction: whether crc32c uses the machine's. */
bool crc32c_has_instruction(void);

#endif
