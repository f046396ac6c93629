/// dpu_vector with its memories and tables, and a list of instructions that it is given as fast as it takes
/// them. Memories are filled and read between runs.
module vector_bench #(
    parameter int unsigned Inputs = 8,
    parameter int unsigned Lanes = 8,
    parameter int unsigned FeatureBytes = 8192,
    parameter int unsigned OutputBytes = 8192,
    parameter int unsigned Tables = 8,
    parameter int unsigned MaxInstructions = 64
) (
    input  logic                clk_i,
    input  logic                rst_ni,
    input  logic                abort_i,
    // One instruction more in the list, which begins anew with the reset.
    input  logic                push_i,
    input  logic [       255:0] instr_i,
    input  logic                run_i,
    output logic                start_o,
    output logic                done_o,
    output logic                error_o,
    output logic [         3:0] error_code_o,
    output logic                ready_o,
    output logic                idle_o,
    // Contents; words at unit or 16-byte addresses.
    input  logic                fm_we_i,
    input  logic                om_we_i,
    input  logic                tm_we_i,
    input  logic [        19:0] addr_i,
    input  logic [Inputs*8-1:0] data_i,
    input  logic [       127:0] table_i,
    output logic [Inputs*8-1:0] om_data_o
);

  logic [MaxInstructions-1:0][255:0] list_q;
  logic [$clog2(MaxInstructions+1)-1:0] count_q, next_q;

  assign start_o = run_i && ready_o && next_q != count_q;

  always_ff @(posedge clk_i) begin
    if (push_i) list_q[count_q] <= instr_i;
    if (!rst_ni) {count_q, next_q} <= '0;
    else begin
      if (push_i) count_q <= count_q + 1'b1;
      if (start_o) next_q <= next_q + 1'b1;
    end
  end

  logic fm_en, fm_range, om_en, om_we, om_range, vector_en, vector_range, inner_en, inner_range;
  logic [19:0] fm_addr, om_addr;
  logic [1:0] fm_need, om_need;
  logic [Inputs-1:0] om_strobe;
  logic [Inputs*8-1:0] fm_data, om_wdata, om_rdata, vector, mapped;
  logic [3:0] vector_table, inner_table;
  logic [Lanes*8-1:0] inner;
  logic [Lanes*32-1:0] inner_data;
  isa_pkg::error_e error_code;

  assign error_code_o = error_code;

  dpu_vector #(
      .Inputs(Inputs),
      .Lanes (Lanes)
  ) u_vector (
      .clk_i,
      .rst_ni,
      .start_i       (start_o),
      .instr_i       (list_q[next_q]),
      .ready_o,
      .done_o,
      .error_o,
      .error_code_o  (error_code),
      .abort_i,
      .idle_o,
      .go_i          (1'b1),
      .fm_en_o       (fm_en),
      .fm_addr_o     (fm_addr),
      .fm_need_o     (fm_need),
      .fm_data_i     (fm_data),
      .fm_range_i    (fm_range),
      .om_en_o       (om_en),
      .om_we_o       (om_we),
      .om_addr_o     (om_addr),
      .om_need_o     (om_need),
      .om_strobe_o   (om_strobe),
      .om_wdata_o    (om_wdata),
      .om_rdata_i    (om_rdata),
      .om_range_i    (om_range),
      .vector_en_o   (vector_en),
      .vector_table_o(vector_table),
      .vector_o      (vector),
      .vector_i      (mapped),
      .range_vector_i(vector_range),
      .inner_en_o    (inner_en),
      .inner_table_o (inner_table),
      .inner_o       (inner),
      .inner_i       (inner_data),
      .range_inner_i (inner_range)
  );

  dpu_banked_memory #(
      .Bytes    (FeatureBytes),
      .UnitBytes(Inputs / 2),
      .Units    (2)
  ) u_features (
      .clk_i,
      .a_en_i    (fm_we_i),
      .a_we_i    (1'b1),
      .a_addr_i  (addr_i),
      .a_need_i  ('1),
      .a_strobe_i('1),
      .a_wdata_i (data_i),
      .a_rdata_o (),
      .a_range_o (),
      .b_en_i    (fm_en),
      .b_addr_i  (fm_addr),
      .b_need_i  (fm_need),
      .b_rdata_o (fm_data),
      .b_range_o (fm_range)
  );

  dpu_banked_memory #(
      .Bytes    (OutputBytes),
      .UnitBytes(Inputs / 2),
      .Units    (2)
  ) u_output (
      .clk_i,
      .a_en_i    (om_en || om_we_i),
      .a_we_i    (om_we || om_we_i),
      .a_addr_i  (om_we_i ? addr_i : om_addr),
      .a_need_i  (om_we_i ? '1 : om_need),
      .a_strobe_i(om_we_i ? '1 : om_strobe),
      .a_wdata_i (om_we_i ? data_i : om_wdata),
      .a_rdata_o (om_rdata),
      .a_range_o (om_range),
      .b_en_i    (1'b1),
      .b_addr_i  (addr_i),
      .b_need_i  ('1),
      .b_rdata_o (om_data_o),
      .b_range_o ()
  );

  dpu_tables #(
      .Tables     (Tables),
      .DrainLanes (Lanes),
      .VectorLanes(Inputs)
  ) u_tables (
      .clk_i,
      .we_i          (tm_we_i),
      .waddr_i       (addr_i[11:0]),
      .wdata_i       (table_i),
      .range_w_o     (),
      .drain_en_i    (1'b0),
      .drain_table_i ('0),
      .drain_i       ('0),
      .drain_o       (),
      .range_drain_o (),
      .vector_en_i   (vector_en),
      .vector_table_i(vector_table),
      .vector_i      (vector),
      .vector_o      (mapped),
      .range_vector_o(vector_range),
      .inner_en_i    (inner_en),
      .inner_table_i (inner_table),
      .inner_i       (inner),
      .inner_o       (inner_data),
      .range_inner_o (inner_range)
  );

endmodule
