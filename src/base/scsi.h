/* SPDX-License-Identifier: BSD-2-Clause */
/* The numbers of SCSI that both of its ends know. */
#ifndef BASE_SCSI_H
#define BASE_SCSI_H

/* Status.  @spec SAM-5, 5.3.1 */
#define SCSI_GOOD                 0x00
#define SCSI_CHECK_CONDITION      0x02
#define SCSI_BUSY                 0x08
#define SCSI_RESERVATION_CONFLICT 0x18
#define SCSI_TASK_SET_FULL        0x28
#define SCSI_TASK_ABORTED         0x40

/* Sense keys.  @spec SPC-4, 4.5.6 */
#define SCSI_KEY_NONE            0x0
#define SCSI_KEY_RECOVERED       0x1
#define SCSI_KEY_NOT_READY       0x2
#define SCSI_KEY_MEDIUM_ERROR    0x3
#define SCSI_KEY_HARDWARE_ERROR  0x4
#define SCSI_KEY_ILLEGAL_REQUEST 0x5
#define SCSI_KEY_UNIT_ATTENTION  0x6
#define SCSI_KEY_DATA_PROTECT    0x7
#define SCSI_KEY_ABORTED_COMMAND 0xb
#define SCSI_KEY_MISCOMPARE      0xe

/* Additional sense code and its qualifier.  @spec SPC-4, annex F */
#define SCSI_ASC_NONE                0x0000
#define SCSI_ASC_STOPPED             0x0402 /* initializing command required */
#define SCSI_ASC_WRITE_ERROR         0x0c00
#define SCSI_ASC_READ_ERROR          0x1100
#define SCSI_ASC_PARAM_LIST_LEN      0x1a00
#define SCSI_ASC_MISCOMPARE          0x1d00
#define SCSI_ASC_OPCODE              0x2000
#define SCSI_ASC_LBA_RANGE           0x2100
#define SCSI_ASC_CDB_FIELD           0x2400
#define SCSI_ASC_NO_LUN              0x2500
#define SCSI_ASC_PARAM_FIELD         0x2600
#define SCSI_ASC_INVALID_RELEASE     0x2604
#define SCSI_ASC_WRITE_PROTECTED     0x2700
#define SCSI_ASC_SPACE               0x2707 /* space allocation failed write protect */
#define SCSI_ASC_POWER_ON            0x2900
#define SCSI_ASC_RESET               0x2903
#define SCSI_ASC_CAPACITY            0x2a09
#define SCSI_ASC_NO_SAVED_PARAMETERS 0x3900
#define SCSI_ASC_LUNS_CHANGED        0x3f0e
#define SCSI_ASC_INTERNAL            0x4400
#define SCSI_ASC_TASK_ATTRIBUTE      0x4900 /* invalid message */
#define SCSI_ASC_RESOURCES           0x5503

#endif
