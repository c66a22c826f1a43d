/* sluice/abi.h - the ground every other header of the connector contract stands on.
 *
 * C11 and C++17. Nothing but fixed-width types crosses the boundary: no C enum, bool, long, bit-field or
 * variable argument list.
 *
 * OWNERSHIP. No function of this contract transfers ownership of memory. Neither side frees what the other
 * allocated. No exception, panic, longjmp or thread exit may cross a function of this contract.    SLP-B01 SLP-B02
 *
 * LIFETIMES, said in brackets at each pointer:
 *   [borrowed]  valid until this call returns; the receiver copies what it keeps
 *   [host]      owned by the host; valid from open() until close() returns
 *   [static]    owned by the connector; valid and unchanged while the library is mapped
 *   [opaque]    made by open(), destroyed by close(); the host never looks inside
 *
 * THREADS, said in brackets at each function:
 *   [session]     never two calls at once on one session; successive calls may come from different threads
 *   [in-step]     only from inside step(), on the thread that called it
 *   [any-thread]  at any time, from several threads at once
 *
 * GROWTH. Every struct that is passed by pointer begins with struct_size, the sender's sizeof. Structs only
 * grow at their end; zero in a new member means the old behaviour. A receiver that knows a smaller struct accepts
 * a larger one when the part it does not know is zero, and refuses it with SLUICE_E_TOO_NEW otherwise (of the sink it
 * calls what it knows). One that knows a larger struct accepts each that is not smaller than in 1.0 (layout.h), and
 * takes what it lacks for zero.                                                                          SLP-B03
 */
#ifndef SLUICE_ABI_H
#define SLUICE_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define SLUICE_STATIC_ASSERT(condition, text) static_assert(condition, text)
#define SLUICE_EXTERN_C_BEGIN extern "C" {
#define SLUICE_EXTERN_C_END }
#else
#include <assert.h>
#define SLUICE_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#define SLUICE_EXTERN_C_BEGIN
#define SLUICE_EXTERN_C_END
#endif

SLUICE_STATIC_ASSERT(sizeof(void*) == 8, "the contract is defined for 64-bit machines");

/* A connector loads when its abi_major equals SLUICE_ABI_MAJOR and its required_minor is not above
 * SLUICE_ABI_MINOR of the host: checked in the file's note, in the mapped entry and at open(). SLP-L03 */
#define SLUICE_ABI_MAJOR 1
#define SLUICE_ABI_MINOR 3

/* Bytes somewhere in memory. Not terminated. UTF-8 where the member says text. {NULL, 0} is empty. */
typedef struct sluice_bytes {
  const uint8_t* data;
  uint64_t size;
} sluice_bytes;

/* What functions return: SLUICE_OK, SLUICE_STOP, a step result, or one of the errors below. */
typedef int32_t sluice_status;
#define SLUICE_OK 0
/* From a sink function: this was taken, but the step's limit is reached; finish and return SLUICE_STEP_MORE. */
#define SLUICE_STOP 1

/* Contract errors: one side broke a rule. Never used for what a vendor does wrong (that is fail()). */
#define SLUICE_E_ARG (-1)         /* a value or pointer outside its range */
#define SLUICE_E_STATE (-2)       /* not now: a step after the end, a sink call outside step() */
#define SLUICE_E_THREAD (-3)      /* from the wrong thread */
#define SLUICE_E_LIMIT (-4)       /* larger or more than the limits in open_args */
#define SLUICE_E_POLICY (-5)      /* not allowed: a header, host or auth slot that the manifest does not declare */
#define SLUICE_E_TOO_NEW (-6)     /* struct with a non-zero tail that this side does not know */
#define SLUICE_E_UNSUPPORTED (-7) /* an operation or extension that this side does not have */
#define SLUICE_E_INTERNAL (-8)    /* the connector failed inside: an exception caught at the boundary */
#define SLUICE_E_MEMORY (-9)      /* out of memory */

#endif /* SLUICE_ABI_H */
