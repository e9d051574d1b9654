import { Column, CreateDateColumn, Entity, Index, PrimaryGeneratedColumn } from 'typeorm';

/** A quote (견적서) submitted to an application. */
@Entity()
export class Quote {
  @PrimaryGeneratedColumn('uuid')
  id: string;

  // No foreign key on purpose: it would not stop the race either, and it would hide how the lock does.
  @Index()
  @Column('uuid')
  applicationId: string;

  @Column('text')
  supplier: string;

  @Column('integer')
  amount: number;

  @CreateDateColumn()
  createdAt: Date;
}
